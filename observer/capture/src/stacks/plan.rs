//! Where which kernel programs go in a file, and how that is told. Nothing here knows any stack.

use std::fmt;

use crate::units::Direction;

/// What is to be put into a file for one stack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProbePlan {
    /// In the order in which they are to be put in: what comes first of a new connection first.
    pub probes: Vec<FunctionProbe>,
    /// A row of `inspect probes` for each function that the stack may have.
    pub rows: Vec<FunctionRow>,
}

/// What is put at one function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionProbe {
    /// The public name of the function.
    pub function: &'static str,
    pub placement: ProbePlacement,
    /// Why there, in words.
    pub why: String,
    /// Where calls are seen that begin.
    pub entry: Option<ProbePoint>,
    /// Where they are seen that end.
    pub exit: Option<CallExit>,
    /// The calls that pass here, as their records tell them; `None`: they do not go up one by one.
    pub calls: Option<CallKind>,
}

/// A kernel program at places of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProbePoint {
    pub program: &'static str,
    /// File offsets of instructions; none: the function lies outside the file's code.
    pub offsets: Vec<u64>,
}

/// How the end of a call is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallExit {
    /// By a return probe: it is put in at the entry and takes the place of the return address, so
    /// the stack must not have moved there, nor move before the return (as Go's do).
    ReturnProbe(ProbePoint),
    /// By ordinary probes on the return instructions, wherever they are.
    Returns(ProbePoint),
}

impl CallExit {
    #[must_use]
    pub fn point(&self) -> &ProbePoint {
        match self {
            Self::ReturnProbe(point) | Self::Returns(point) => point,
        }
    }
}

/// How the records of calls tell where these passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallKind {
    pub direction: Direction,
    /// The number of bytes came through a pointer (`FLAG_EX`).
    pub through_pointer: bool,
}

/// Where in a function a probe sits: bytes behind its first instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbePlacement {
    /// In the function itself.
    Entry(u64),
    /// In the one function that it hands its arguments on to.
    Callee(u64),
}

impl ProbePlacement {
    /// Not in the function itself.
    #[must_use]
    pub fn is_inner(self) -> bool {
        matches!(self, Self::Callee(_))
    }

    /// The one place that is certain whatever the code.
    #[must_use]
    pub fn is_certain(self) -> bool {
        self == Self::Entry(0)
    }
}

impl fmt::Display for ProbePlacement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(0) => f.write_str("entry"),
            Self::Entry(skip) => write!(f, "entry+{skip}"),
            Self::Callee(skip) => write!(f, "callee+{skip}"),
        }
    }
}

/// A function in `inspect probes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FunctionRow {
    /// Name of its probe.
    pub probe: &'static str,
    pub served: CallCoverage,
}

/// By what a function's calls are seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CallCoverage {
    /// By a probe of its own: its place in `ProbePlan::probes`.
    Own(usize),
    /// By another function's.
    Shared {
        /// That probe's place in `ProbePlan::probes`; `None`: it is not the same for all calls.
        probe: Option<usize>,
        reason: String,
    },
    /// The file has no such function.
    Absent,
}
