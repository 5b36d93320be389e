//! Stage 3: records to ordered bytes. `Record` in, `Chunk` out.

/// A piece of one direction of a connection, in order: bytes, or the knowledge that bytes are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chunk<'a> {
    /// The next bytes.
    Data(&'a [u8]),
    /// `bytes` are missing here (`None`: an unknown number), because of `cause`.
    Gap { bytes: Option<u64>, cause: crate::units::LossCause },
}
