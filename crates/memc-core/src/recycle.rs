//! Buffers that go round: taken by who fills them, given back by who has emptied them.

use std::sync::{Mutex, PoisonError};

/// A buffer that can be used again.
pub(crate) trait Reuse: Default {
    /// Forgets the contents, not the memory.
    fn clear(&mut self);

    /// The memory it holds, in bytes.
    fn capacity(&self) -> usize;
}

/// Spare buffers of one kind. How many there are is bounded by what the ledger lets be in flight.
#[derive(Debug)]
pub(crate) struct Spares<T> {
    spares: Mutex<Vec<T>>,
    /// A buffer that has grown over this many bytes for an odd line is not kept.
    max_bytes: usize,
}

impl<T: Reuse> Spares<T> {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { spares: Mutex::default(), max_bytes }
    }

    /// An empty buffer, used before if there is one.
    pub(crate) fn take(&self) -> T {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Gives a buffer back.
    pub(crate) fn give(&self, mut buffer: T) {
        if buffer.capacity() <= self.max_bytes {
            buffer.clear();
            self.spares.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}
