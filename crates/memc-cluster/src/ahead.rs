//! How far a cluster reads ahead, which is what bounds its memory.

/// How far a cluster reads ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// How many files may be read beyond the oldest that is not finished.
    pub files: usize,
    /// How many bytes of encoded records a worker may have in flight: those that are not acknowledged, and those that
    /// wait for the files before theirs.
    pub bytes: usize,
}
