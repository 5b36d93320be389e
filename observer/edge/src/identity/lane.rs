//! Looks at strangers' files aside: a hung file system of theirs may hold the thread that looks,
//! and never the one that asks.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::cgroup::ContainerRef;
use super::files::{HostRoot, program};
use super::{ContainerNames, state};

/// How long the asker waits: an answer takes well under a millisecond, and what takes longer comes later.
const PATIENCE: Duration = Duration::from_millis(20);

/// A look that takes longer has hung; another thread takes its place.
const HUNG: Duration = Duration::from_secs(2);

/// Threads that may hang; when all do, nothing of strangers is looked at until one comes back.
const THREADS: usize = 4;

/// Questions that wait.
const QUEUE: usize = 256;

/// Late answers kept for those who asked.
const KEPT: usize = 1024;

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum IdentityQuestion {
    /// Whether the program of a process is the host's own file: at its path in the host's root,
    /// where root alone writes. `user` runs it.
    Program { link: PathBuf, start_ns: u64, path: String, user: Option<u32> },
    /// What a user's runtime calls a container.
    Names { container: ContainerRef, user: u32 },
}

impl IdentityQuestion {
    /// Whose files are looked at.
    fn user(&self) -> Option<u32> {
        match self {
            IdentityQuestion::Program { user, .. } => *user,
            IdentityQuestion::Names { user, .. } => Some(*user),
        }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum IdentityAnswer {
    Program(bool),
    Names(Option<ContainerNames>),
}

/// The threads, started when first needed.
#[derive(Debug)]
pub(super) struct IdentityThreads {
    roots: Vec<PathBuf>,
    running: Option<Running>,
    threads: usize,
    asked: HashMap<IdentityQuestion, Instant>,
    /// Late answers that nobody has come back for.
    came: HashMap<IdentityQuestion, IdentityAnswer>,
    news: bool,
}

#[derive(Debug)]
struct Running {
    questions: SyncSender<IdentityQuestion>,
    queue: Arc<Mutex<Receiver<IdentityQuestion>>>,
    answers: Receiver<(IdentityQuestion, IdentityAnswer)>,
    reply: std::sync::mpsc::Sender<(IdentityQuestion, IdentityAnswer)>,
}

impl IdentityThreads {
    #[must_use]
    pub(super) fn new(roots: Vec<PathBuf>) -> IdentityThreads {
        IdentityThreads { roots, running: None, threads: 0, asked: HashMap::new(), came: HashMap::new(), news: false }
    }

    /// Asks, and waits a moment. `None`: not known yet; `late` says when to ask again. Of a user
    /// whose last question hangs nothing is asked: he holds one thread at most.
    pub(super) fn ask(&mut self, question: &IdentityQuestion) -> Option<IdentityAnswer> {
        self.collect();
        if let Some(answer) = self.came.remove(question) {
            return Some(answer);
        }
        let hangs =
            |(asked, at): (&IdentityQuestion, &Instant)| asked.user() == question.user() && at.elapsed() > PATIENCE;
        if self.asked.contains_key(question) || self.asked.iter().any(hangs) {
            return None;
        }
        let held_up = self.asked.values().any(|at| at.elapsed() > PATIENCE);
        let running = self.running.get_or_insert_with(Running::new);
        running.questions.try_send(question.clone()).ok()?;
        let now = Instant::now();
        self.asked.insert(question.clone(), now);
        if self.threads == 0 {
            self.start();
        }
        // Who waited in vain once does not wait again until the lane is free.
        while !held_up && now.elapsed() < PATIENCE {
            let left = PATIENCE.saturating_sub(now.elapsed());
            let (answered, answer) = self.running.as_ref()?.answers.recv_timeout(left).ok()?;
            self.asked.remove(&answered);
            if answered == *question {
                return Some(answer);
            }
            self.keep(answered, answer);
        }
        None
    }

    /// Whether answers came for which nobody waited any more: who asked may ask again. Sees to threads that hang.
    pub(super) fn late(&mut self) -> bool {
        self.collect();
        let hung = self.asked.values().filter(|at| at.elapsed() > HUNG).count();
        if hung >= self.threads && hung > 0 && self.threads < THREADS {
            tracing::warn!(
                threads = self.threads,
                "a file of a container's or a program's owner does not answer; others are looked at beside it"
            );
            self.start();
        }
        std::mem::take(&mut self.news)
    }

    fn collect(&mut self) {
        let came: Vec<_> = self.running.iter().flat_map(|running| running.answers.try_iter()).collect();
        for (question, answer) in came {
            self.asked.remove(&question);
            self.keep(question, answer);
        }
    }

    fn keep(&mut self, question: IdentityQuestion, answer: IdentityAnswer) {
        if self.came.len() >= KEPT {
            self.came.clear();
        }
        self.came.insert(question, answer);
        self.news = true;
    }

    fn start(&mut self) {
        let Some(running) = &self.running else { return };
        let (queue, reply, roots) = (Arc::clone(&running.queue), running.reply.clone(), self.roots.clone());
        let look = move || {
            loop {
                let next = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(question) = next else { return };
                let answer = find(&roots, &question);
                if reply.send((question, answer)).is_err() {
                    return;
                }
            }
        };
        match std::thread::Builder::new().name("names".into()).spawn(look) {
            Ok(_) => self.threads += 1,
            Err(error) => tracing::warn!(%error, "no thread for the files of containers' users: they stay unnamed"),
        }
    }
}

impl Running {
    fn new() -> Running {
        let (questions, queue) = sync_channel(QUEUE);
        let (reply, answers) = channel();
        Running { questions, queue: Arc::new(Mutex::new(queue)), answers, reply }
    }
}

fn find(roots: &[PathBuf], question: &IdentityQuestion) -> IdentityAnswer {
    let mut roots = roots.iter().filter_map(|path| HostRoot::open(path).ok());
    match question {
        IdentityQuestion::Program { link, path, .. } => {
            let own = program(link).filter(|(_, rooted)| *rooted);
            IdentityAnswer::Program(own.is_some_and(|(file, _)| roots.any(|root| root.is_own(path, file))))
        }
        IdentityQuestion::Names { container, user } => {
            IdentityAnswer::Names(roots.find_map(|root| state::of_user(&root, container, *user)))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(path: &str, user: u32) -> IdentityQuestion {
        IdentityQuestion::Program { link: "/proc/self/exe".into(), start_ns: 0, path: path.into(), user: Some(user) }
    }

    #[test]
    fn an_answer_comes_at_once() {
        let mut lane = IdentityThreads::new(vec!["/".into()]);
        for path in ["/nowhere", "/proc/self/exe"] {
            let since = Instant::now();
            // On a busy machine it may come later.
            let mut answer = lane.ask(&program(path, 0));
            while answer.is_none() && since.elapsed() < Duration::from_secs(10) {
                lane.late();
                answer = lane.ask(&program(path, 0));
            }
            assert_eq!(answer, Some(IdentityAnswer::Program(false)), "{path}");
        }
    }

    /// A thread that hangs costs one wait; what is asked behind it is answered by another.
    #[test]
    fn a_look_that_hangs_holds_up_nobody() {
        let mut lane = IdentityThreads::new(vec!["/".into()]);
        let mut running = Running::new();
        // Nobody takes this question: as if its thread hung in it.
        let (questions, _hung) = sync_channel(QUEUE);
        let real = std::mem::replace(&mut running.questions, questions);
        lane.running = Some(running);
        lane.threads = 1;
        assert_eq!(lane.ask(&program("/hung", 0)), None);
        std::thread::sleep(PATIENCE);
        let since = Instant::now();
        for turn in 0..20 {
            assert_eq!(lane.ask(&program(&format!("/{turn}"), 1 + turn % 2)), None);
        }
        assert_eq!(lane.ask(&program("/again", 0)), None);
        assert!(!lane.asked.contains_key(&program("/again", 0)), "he holds a thread already");
        assert!(since.elapsed() < PATIENCE * 2, "only the first one waited: {:?}", since.elapsed());
        if let Some(running) = &mut lane.running {
            running.questions = real;
        }
        std::thread::sleep(HUNG);
        lane.late();
        assert_eq!(lane.threads, 2);
        let since = Instant::now();
        let mut answer = None;
        while answer.is_none() && since.elapsed() < Duration::from_secs(10) {
            answer = lane.ask(&program("/after", 3));
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(answer, Some(IdentityAnswer::Program(false)));
    }
}
