//! What a file carries: by its symbols at once, else by looking through all of it.

use std::fs::File;

use super::SharedFiles;
use super::case::{FileSystemKind, LocatedFile};
use super::inode::InodeFacts;
use super::layer::UnderlyingFile;
use super::layouts::{COMPARED, KeptLayout};
use super::registry::FileRefusal;
use super::threads::{SurveyProgress, WorkerState};
use crate::clock;
use capture::elf::{ElfBudget, ElfImage, ElfRefusal, RandomAccess};
use capture::stacks::{self, AmbiguousStack, RecognisedStacks, UnseenReason};

/// A file that carries TLS, ready to be probed.
pub(crate) struct TlsFile {
    pub image: ElfImage,
    /// The stacks that it carries.
    pub recognised: RecognisedStacks,
    /// The file itself, open for reading.
    pub file: File,
    pub(super) inode: InodeFacts,
    /// Where it really lies, if that is not where it was seen.
    pub(super) real: Option<UnderlyingFile>,
}

/// What looking at a file came to.
pub(super) enum FileContents {
    Tls(Box<TlsFile>),
    /// Nothing that is probed.
    Plain,
    /// That takes looking through all of it, which another thread has the time for.
    Hidden,
}

impl SharedFiles {
    /// What is to be probed.
    pub(super) fn found(
        &self,
        case: &LocatedFile<'_>,
        image: ElfImage,
        file: File,
        real: Option<UnderlyingFile>,
    ) -> Result<FileContents, FileRefusal> {
        let named = stacks::named(&image).map_err(|doubt| doubtful(doubt, &image))?;
        match (named.is_empty(), stacks::may_hide(&image)) {
            (false, _) => {
                self.found_by_name(case, image, named, file, real).map(|found| FileContents::Tls(Box::new(found)))
            }
            (true, false) => Ok(FileContents::Plain),
            (true, true) => self.found_within(case, image, file, real),
        }
    }

    /// Where the layer's file was found it is that one which is probed, so it
    /// alone may say where: what an overlay shows, a stranger can make, and the names of layers
    /// that lead us to root's library can be a stranger's, too. A file of another content is not
    /// the one below; then the overlay's own is probed as it is.
    fn found_by_name(
        &self,
        case: &LocatedFile<'_>,
        image: ElfImage,
        recognised: RecognisedStacks,
        file: File,
        real: Option<UnderlyingFile>,
    ) -> Result<TlsFile, FileRefusal> {
        let mut real = real;
        if let Some(below) = &real {
            if case.kind_of(below) == FileSystemKind::Fuse {
                return Err(in_user_space());
            }
            match below.file.read().ok().map(|file| (read_image(&file, case.desk), file)) {
                Some((Ok(Some(theirs)), file)) if theirs.is_like(&image) => {
                    let inode = case.inode(real.as_ref(), theirs.build_id.clone());
                    let recognised = stacks::named(&theirs).map_err(|doubt| doubtful(doubt, &theirs))?;
                    return Ok(TlsFile { image: theirs, recognised, file, inode, real });
                }
                _ => real = None,
            }
        }
        if case.overlay && case.is_strangers() {
            return Err(out_of_sight());
        }
        let inode = case.inode(None, image.build_id.clone());
        Ok(TlsFile { image, recognised, file, inode, real })
    }

    /// The same of a file that has to be looked through, which is done once for all containers of
    /// an image: with the layer's file, where that is the very one that the overlay shows. It has
    /// no symbols to compare, so it is known by its size and times, of which the kernel alone sets
    /// the time of change.
    fn found_within(
        &self,
        case: &LocatedFile<'_>,
        image: ElfImage,
        file: File,
        real: Option<UnderlyingFile>,
    ) -> Result<FileContents, FileRefusal> {
        let real = real.filter(|below| below.file.version == case.opened.version);
        let below = real.as_ref().and_then(|below| below.file.read().ok());
        let (real, image, file) = match below.map(|file| (read_image(&file, case.desk), file)) {
            Some((Ok(Some(theirs)), theirs_file)) => (real, theirs, theirs_file),
            _ => (None, image, file),
        };
        if real.is_none() && case.overlay && case.is_strangers() {
            return Err(out_of_sight());
        }
        let inode = case.inode(real.as_ref(), None);
        let key = inode.own.map(|own| (own, inode.version));
        let kept = key
            .and_then(|key| self.state().layouts.of(key))
            .filter(|kept| kept.fits(|address| image.code_up_to(address, COMPARED)));
        let surveys = case.desk.surveys();
        let look = if surveys { stacks::hidden } else { stacks::alone };
        let recognised = match kept {
            Some(KeptLayout { recognised, .. }) => {
                self.state().counters.known_before += 1;
                recognised
            }
            None => {
                self.state().counters.looked_through += u64::from(surveys);
                let found = look(&image, &file_budget()).map_err(|doubt| doubtful(doubt, &image))?;
                if found.is_empty() && !surveys {
                    return Ok(FileContents::Hidden);
                }
                if let Some(key) = key {
                    self.state()
                        .layouts
                        .keep(key, KeptLayout::new(found.clone(), |address| image.code_up_to(address, COMPARED)));
                }
                found
            }
        };
        if recognised.is_empty() {
            return Ok(FileContents::Plain);
        }
        Ok(FileContents::Tls(Box::new(TlsFile { image, recognised, file, inode, real })))
    }

    /// What is known of a file that was looked through before.
    pub(super) fn kept(&self, case: &LocatedFile<'_>, real: Option<&UnderlyingFile>) -> Option<KeptLayout> {
        let inode = case.inode(real.filter(|below| below.file.version == case.opened.version), None);
        self.state().layouts.of((inode.own?, inode.version))
    }
}

pub(super) fn in_user_space() -> FileRefusal {
    let detail =
        "it lies on a file system in user space: its server could stop every fork of this host while a probe is put in";
    FileRefusal { reason: UnseenReason::FuseMount, detail: detail.into(), cpu_ns: 0 }
}

/// It carries a stack whose functions cannot be told for sure.
fn doubtful(doubt: AmbiguousStack, image: &ElfImage) -> FileRefusal {
    FileRefusal { reason: doubt.reason, detail: doubt.detail, cpu_ns: image.spent.cpu_ns }
}

pub(super) fn out_of_sight() -> FileRefusal {
    let detail = "an overlay of a user namespace whose layers cannot be found from here: below it may lie a file system in user space";
    FileRefusal { reason: UnseenReason::OverlayOutOfSight, detail: detail.into(), cpu_ns: 0 }
}

/// What looking at one file may cost.
fn file_budget() -> ElfBudget {
    ElfBudget::new(clock::thread_cpu)
}

pub(super) fn read_image(file: &File, desk: &WorkerState) -> Result<Option<ElfImage>, ElfRefusal> {
    match file.try_clone() {
        Ok(file) => {
            let file = WatchedFile { file, progress: desk.progress() };
            ElfImage::read(file, &stacks::symbols(), &file_budget())
        }
        Err(error) => Err(ElfRefusal::unreadable(&error)),
    }
}

/// A file of which each piece that is read is progress.
#[derive(Debug)]
struct WatchedFile {
    file: File,
    progress: Option<SurveyProgress>,
}

impl RandomAccess for WatchedFile {
    fn read_at(&self, into: &mut [u8], offset: u64) -> std::io::Result<usize> {
        let read = RandomAccess::read_at(&self.file, into, offset);
        self.progress.iter().for_each(SurveyProgress::goes_on);
        read
    }

    fn descriptor(&self) -> Option<std::os::fd::RawFd> {
        self.file.descriptor()
    }
}
