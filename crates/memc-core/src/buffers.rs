//! Pools of buffers: taken to be filled, returned when emptied.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Buffers over this size are rare, those of very long lines, and go back to the system.
pub(crate) const LARGE_BYTES: usize = 2 * 1024 * 1024;

/// glibc has requests of this size served by the system, and gives them back when they are freed, whatever was asked
/// for before. What is smaller it may keep, tens of MiB for each thread once a large one was freed
/// (`M_MMAP_THRESHOLD` in mallopt(3)). Pages that are not written to take no memory.
const MAPPED_BYTES: usize = 33 * 1024 * 1024;

/// Makes room for `bytes` more.
pub(crate) fn reserve(buffer: &mut Vec<u8>, bytes: usize) {
    buffer.reserve_exact(room_for(buffer, bytes));
}

/// Makes room for `bytes` more, or says that there is no memory for it.
pub(crate) fn try_reserve(buffer: &mut Vec<u8>, bytes: usize) -> io::Result<()> {
    buffer.try_reserve_exact(room_for(buffer, bytes)).map_err(|_| io::ErrorKind::OutOfMemory.into())
}

/// The room to ask for where `bytes` more are needed.
fn room_for(buffer: &Vec<u8>, bytes: usize) -> usize {
    let wanted = buffer.len().saturating_add(bytes);
    let is_large = wanted > buffer.capacity() && wanted > LARGE_BYTES;
    if is_large { wanted.max(MAPPED_BYTES) - buffer.len() } else { bytes }
}

/// The first `length` bytes of a buffer, in memory of their own if it is far larger.
pub(crate) fn shrink(mut buffer: Vec<u8>, length: usize) -> Vec<u8> {
    if length < buffer.len() / 2 {
        return buffer[..length].to_vec();
    }
    buffer.truncate(length);
    buffer
}

/// The memory that a buffer takes: all of it, but of a large one just what is written to.
pub(crate) fn resident_bytes(buffer: &Vec<u8>) -> usize {
    if buffer.capacity() > LARGE_BYTES { buffer.len() } else { buffer.capacity() }
}

/// A buffer that can be used again.
pub(crate) trait Reusable: Default {
    /// Forgets the contents, not the memory.
    fn clear(&mut self);

    /// The memory that it takes, in bytes.
    fn bytes(&self) -> usize;
}

/// Spare buffers of one kind. The reader frees some where they and what is in flight take too much memory.
#[derive(Debug)]
pub(crate) struct BufferPool<T> {
    state: Mutex<State<T>>,
    /// A buffer that has grown over this many bytes for an odd line is not kept.
    max_bytes: usize,
}

#[derive(Debug)]
struct State<T> {
    spares: Vec<T>,
    bytes: usize,
}

impl<T: Reusable> BufferPool<T> {
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { state: Mutex::new(State { spares: Vec::new(), bytes: 0 }), max_bytes }
    }

    /// An empty buffer, used before if there is one.
    pub(crate) fn take(&self) -> T {
        self.lock().pop().unwrap_or_default()
    }

    /// Gives a buffer back. One without memory is dropped.
    pub(crate) fn give(&self, mut buffer: T) {
        let bytes = buffer.bytes();
        if (1..=self.max_bytes).contains(&bytes) {
            buffer.clear();
            let mut state = self.lock();
            state.bytes += bytes;
            state.spares.push(buffer);
        }
    }

    /// The memory of all spare buffers.
    pub(crate) fn spare_bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Frees spare buffers with at least `bytes` of memory, or all, and returns how much that was.
    pub(crate) fn free(&self, bytes: usize) -> usize {
        let mut freed = 0;
        while freed < bytes
            && let Some(spare) = { self.lock().pop() }
        {
            freed += spare.bytes();
        }
        freed
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing in here can panic half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Reusable> State<T> {
    fn pop(&mut self) -> Option<T> {
        let spare = self.spares.pop()?;
        self.bytes -= spare.bytes();
        Some(spare)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Reusable for Vec<u8> {
        fn clear(&mut self) {
            Self::clear(self);
        }

        fn bytes(&self) -> usize {
            self.capacity()
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
    #[test]
    fn a_large_buffer_takes_what_is_written_to() {
        let mut buffer = Vec::new();
        reserve(&mut buffer, 100);
        assert_eq!((buffer.capacity(), resident_bytes(&buffer)), (100, 100));
        reserve(&mut buffer, LARGE_BYTES + 1);
        assert_eq!((buffer.capacity(), resident_bytes(&buffer)), (MAPPED_BYTES, 0));
        buffer.push(1);
        reserve(&mut buffer, MAPPED_BYTES);
        assert_eq!((buffer.capacity(), resident_bytes(&buffer)), (MAPPED_BYTES + 1, 1));
    }

    #[test]
    fn spare_buffers_are_counted_and_freed() {
        let spares = BufferPool::new(100);
        for capacity in [10, 20, 30, 40] {
            spares.give(Vec::with_capacity(capacity));
        }
        assert_eq!(spares.take().capacity(), 40);
        assert_eq!((spares.spare_bytes(), spares.free(0), spares.free(31)), (60, 0, 50));
        assert_eq!((spares.spare_bytes(), spares.free(31), spares.spare_bytes()), (10, 10, 0));
    }
}
