//! `mountinfo`: which mount a file was seen through, and where the layers of an overlay lie. The
//! texts come from strangers' mount namespaces: any byte may stand anywhere. Pure. Formats:
//! proc_pid_mountinfo(5), Documentation/filesystems/overlayfs.rst.

use std::ffi::OsString;
use std::io::BufRead;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountEntry {
    /// The kernel's number for it, the same in every mount namespace.
    pub id: u64,
    /// Device of the file system, major and minor.
    pub device: (u32, u32),
    /// What of the file system is mounted: `/`, or the folder that a bind mount shows.
    pub root: PathBuf,
    /// Where, as seen from the root of who reads.
    pub point: PathBuf,
    /// `ext4`, `overlay`, `fuse.sshfs`, …
    pub kind: String,
    /// Options of the file system, still escaped.
    options: Vec<u8>,
}

/// The folders that an overlay puts on top of each other, topmost first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OverlayLayers {
    pub dirs: Vec<PathBuf>,
}

/// Layers of one overlay: the kernel allows 500.
const MAX_LAYERS: usize = 512;

/// The first mount of this text that is `wanted`.
pub fn find(mut text: impl BufRead, mut wanted: impl FnMut(&MountEntry) -> bool) -> Option<MountEntry> {
    let mut line = Vec::new();
    loop {
        line.clear();
        if text.read_until(b'\n', &mut line).ok()? == 0 {
            return None;
        }
        if let Some(mount) = parse(line.trim_ascii_end()).filter(|mount| wanted(mount)) {
            return Some(mount);
        }
    }
}

/// `36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue`
#[must_use]
pub fn parse(line: &[u8]) -> Option<MountEntry> {
    let mut fields = line.split(|byte| *byte == b' ');
    let id = number(fields.next()?)?;
    let device = fields.nth(1)?;
    let colon = device.iter().position(|byte| *byte == b':')?;
    let (major, minor) = (number(device.get(..colon)?)?, number(device.get(colon + 1..)?)?);
    let (root, point) = (path(fields.next()?), path(fields.next()?));
    // Options of the mount, then any number of optional fields, up to a lone dash.
    fields.by_ref().find(|field| *field == b"-")?;
    let kind = String::from_utf8_lossy(&unescaped(fields.next()?)).into_owned();
    let options = fields.nth(1).unwrap_or_default().to_vec();
    Some(MountEntry {
        id,
        device: (u32::try_from(major).ok()?, u32::try_from(minor).ok()?),
        root,
        point,
        kind,
        options,
    })
}

impl MountEntry {
    /// Where a path that lies below this mount's point lies in its file system.
    #[must_use]
    pub fn in_file_system(&self, seen: &Path) -> Option<PathBuf> {
        Some(joined_path(&self.root, seen.strip_prefix(&self.point).ok()?))
    }

    /// The layers, if this is an overlay that tells them.
    #[must_use]
    pub fn layers(&self) -> OverlayLayers {
        let mut upper = None;
        let (mut lower, mut data) = (Vec::new(), Vec::new());
        for option in self.options.split(|byte| *byte == b',') {
            let Some(at) = option.iter().position(|byte| *byte == b'=') else { continue };
            let (name, value) = (option.get(..at).unwrap_or_default(), option.get(at + 1..).unwrap_or_default());
            let value = unescaped(value);
            match name {
                b"upperdir" => upper = Some(PathBuf::from(OsString::from_vec(value))),
                b"lowerdir" => lower.extend(split_lower(&value)),
                b"lowerdir+" => lower.push(PathBuf::from(OsString::from_vec(value))),
                b"datadir+" => data.push(PathBuf::from(OsString::from_vec(value))),
                _ => {}
            }
        }
        let all = upper.into_iter().chain(lower).chain(data).filter(|layer| !layer.as_os_str().is_empty());
        OverlayLayers { dirs: all.take(MAX_LAYERS).collect() }
    }
}

/// `root` and what lies below it, without a trailing slash where nothing does.
#[must_use]
pub fn joined_path(root: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { root.to_path_buf() } else { root.join(below) }
}

/// `lowerdir=a:b::c`: colons part the layers unless a backslash stands before them; an empty one
/// marks that data-only layers follow.
fn split_lower(value: &[u8]) -> Vec<PathBuf> {
    let (mut layers, mut layer) = (Vec::new(), Vec::new());
    let mut bytes = value.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' => layer.extend(bytes.next()),
            b':' => layers.push(std::mem::take(&mut layer)),
            _ => layer.push(byte),
        }
    }
    layers.push(layer);
    layers.into_iter().filter(|layer| !layer.is_empty()).map(|layer| PathBuf::from(OsString::from_vec(layer))).collect()
}

fn path(field: &[u8]) -> PathBuf {
    PathBuf::from(OsString::from_vec(unescaped(field)))
}

/// The kernel writes blanks, commas, backslashes and the like as `\ooo`.
fn unescaped(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, behind)) = rest.split_first() {
        match octal(rest) {
            Some(byte) => {
                plain.push(byte);
                rest = rest.get(4..).unwrap_or_default();
            }
            None => {
                plain.push(*first);
                rest = behind;
            }
        }
    }
    plain
}

fn octal(text: &[u8]) -> Option<u8> {
    let [b'\\', high @ b'0'..=b'3', middle @ b'0'..=b'7', low @ b'0'..=b'7', ..] = text else { return None };
    Some((high - b'0') << 6 | (middle - b'0') << 3 | (low - b'0'))
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// For fuzzing: the whole text, and a path in each mount. Nothing panics, and layers are bounded and have names.
pub fn fuzz(data: &[u8]) {
    let found = find(data, |mount| {
        let layers = mount.layers().dirs;
        assert!(layers.len() <= MAX_LAYERS && layers.iter().all(|layer| !layer.as_os_str().is_empty()));
        if let Some(inside) = mount.in_file_system(&mount.point.join("a")) {
            assert_eq!(inside, joined_path(&mount.root, Path::new("a")));
        }
        false
    });
    assert_eq!(found, None);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overlay(options: &str) -> Vec<PathBuf> {
        let line = format!("65 43 0:39 / /m rw,relatime shared:1 - overlay overlay rw,{options}");
        parse(line.as_bytes()).expect("a mount").layers().dirs
    }

    fn paths(all: &[&str]) -> Vec<PathBuf> {
        all.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn a_line_is_read() {
        let line =
            br"36 35 98:5 /mnt\0401 /m\134\0402 rw,noatime master:1 propagate_from:2 - fuse.sshfs /dev/root rw,x=1";
        let mount = parse(line).expect("a mount");
        assert_eq!((mount.id, mount.device), (36, (98, 5)));
        assert_eq!((mount.root, mount.point), (PathBuf::from("/mnt 1"), PathBuf::from(r"/m\ 2")));
        assert_eq!(mount.kind, "fuse.sshfs");
    }

    #[test]
    fn a_path_is_found_in_its_file_system() {
        let mount = parse(b"36 35 98:5 /var/vol /data rw - ext4 /dev/x rw").expect("a mount");
        assert_eq!(mount.in_file_system(Path::new("/data/lib/a.so")), Some("/var/vol/lib/a.so".into()));
        assert_eq!(mount.in_file_system(Path::new("/data")), Some("/var/vol".into()));
        assert_eq!(mount.in_file_system(Path::new("/database/a")), None);
    }

    #[test]
    fn layers_of_every_form_are_told_topmost_first() {
        assert_eq!(overlay("lowerdir=/b:/c,upperdir=/a,workdir=/w"), paths(&["/a", "/b", "/c"]));
        assert_eq!(overlay("lowerdir+=/b,lowerdir+=/c:d,datadir+=/e,upperdir=/a"), paths(&["/a", "/b", "/c:d", "/e"]));
        assert_eq!(overlay("lowerdir=/b::/data::/more"), paths(&["/b", "/data", "/more"]));
        assert_eq!(overlay("lowerdir=l/AB:l/CD,upperdir=x/diff"), paths(&["x/diff", "l/AB", "l/CD"]));
    }

    #[test]
    fn names_with_colons_commas_blanks_and_backslashes_stay_whole() {
        // As the kernel shows `lowerdir=/a\:b:/c,d` and `upperdir=/u v=\`.
        assert_eq!(
            overlay(r"lowerdir=/a\134:b:/c\054d,upperdir=/u\040v\075\134\134"),
            paths(&[r"/u v=\\", "/a:b", "/c,d"])
        );
    }

    #[test]
    fn nonsense_is_nothing() {
        let lines: [&[u8]; 8] = [
            b"",
            b" ",
            b"1 2",
            b"1 2 3 / / rw - ext4",
            b"x 2 3:4 / / rw - ext4 d o",
            b"1 2 3:4 / /",
            b"\xff\xfe",
            b"1 2 :: / / - a b c",
        ];
        for line in lines {
            assert_eq!(parse(line), None, "{line:?}");
        }
        assert_eq!(parse(b"1 2 3:4 / / rw - ext4").map(|mount| mount.layers()), Some(OverlayLayers::default()));
    }

    #[test]
    fn the_wanted_one_of_a_list_is_found() {
        let text = "1 0 8:1 / / rw - ext4 /dev/a rw\nnonsense\n7 1 0:9 / /m rw - tmpfs none rw\n";
        let found = find(text.as_bytes(), |mount| mount.id == 7).expect("it is there");
        assert_eq!(found.kind, "tmpfs");
        assert_eq!(find(text.as_bytes(), |mount| mount.id == 8), None);
    }
}
