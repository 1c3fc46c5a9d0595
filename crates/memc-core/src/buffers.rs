//! Buffers that go round: taken by who fills them, given back by who has emptied them.

use std::sync::{Mutex, PoisonError};

/// A buffer that can be used again.
pub(crate) trait Reusable: Default {
    /// Forgets the contents, not the memory.
    fn clear(&mut self);

    /// The memory it holds, in bytes.
    fn capacity(&self) -> usize;
}

/// Spare buffers of one kind. How many there are is bounded by what the ledger lets be in flight.
#[derive(Debug)]
pub(crate) struct BufferPool<T> {
    spares: Mutex<Vec<T>>,
    /// A buffer that has grown over this many bytes for an odd line is not kept.
    max_bytes: usize,
}

impl<T: Reusable> BufferPool<T> {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { spares: Mutex::default(), max_bytes }
    }

    /// An empty buffer, used before if there is one.
    pub(crate) fn take(&self) -> T {
        self.spares.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    /// Gives a buffer back. One without memory is of no use to who comes next.
    pub(crate) fn give(&self, mut buffer: T) {
        if (1..=self.max_bytes).contains(&buffer.capacity()) {
            buffer.clear();
            self.spares.lock().unwrap_or_else(PoisonError::into_inner).push(buffer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Reusable for Vec<u8> {
        fn clear(&mut self) {
            Self::clear(self);
        }

        fn capacity(&self) -> usize {
            Self::capacity(self)
        }
    }

    #[test]
    fn a_buffer_without_memory_or_with_too_much_is_not_kept() {
        let spares = BufferPool::new(100);
        for capacity in [50, 0, 101] {
            spares.give(Vec::with_capacity(capacity));
        }
        assert_eq!([spares.take().capacity(), spares.take().capacity()], [50, 0]);
    }
}
