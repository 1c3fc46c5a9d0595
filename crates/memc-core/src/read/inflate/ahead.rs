//! Reads a packed input ahead, in segments.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::{Arc, OnceLock};

use super::search::find_block;
use super::threads::Threads;

/// So many members that begin in one segment are tried with the threads. What more there are, are small.
const MAX_TRIED_MEMBERS: usize = 4;

/// A piece of a packed input.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) bytes: Vec<u8>,
    /// Nothing comes after it.
    pub(super) is_last: bool,
    first_block: OnceLock<Option<usize>>,
}

impl Segment {
    pub(super) fn new(bytes: Vec<u8>, is_last: bool) -> Self {
        Self { bytes, is_last, first_block: OnceLock::new() }
    }

    /// The bit at which the first block seems to begin in it; searched for once, by who asks first.
    pub(super) fn first_block(&self) -> Option<usize> {
        *self.first_block.get_or_init(|| find_block(&self.bytes))
    }

    #[cfg(test)]
    pub(super) fn with_first_block(bytes: Vec<u8>, bit: usize) -> Self {
        Self { bytes, is_last: false, first_block: OnceLock::from(Some(bit)) }
    }
}

/// A packed input that can be read ahead of, with the threads that inflate what is.
pub(crate) struct Ahead<R> {
    input: R,
    segment_bytes: usize,
    /// Those that are read ahead; the reader is in the first one.
    segments: VecDeque<Arc<Segment>>,
    /// So much of the first segment is read; never all of it.
    at: usize,
    /// How many members have begun in the first segment.
    members: usize,
    /// What ended the reading ahead, for who comes there.
    error: Option<io::Error>,
    pub(super) threads: Threads,
}

impl<R: BufRead> Ahead<R> {
    pub(crate) fn new(input: R, threads: usize, segment_bytes: usize) -> Self {
        Self {
            input,
            segment_bytes,
            segments: VecDeque::new(),
            at: 0,
            members: 0,
            error: None,
            threads: Threads::new(threads),
        }
    }

    /// Whether the member that begins here may be worth several threads: there is a second segment, and it is
    /// not one of many small ones, which would each make the threads begin in vain.
    pub(super) fn begin_member(&mut self) -> bool {
        self.members += 1;
        // With one thread nothing is read ahead. With more, it is for small members, too, so that they are counted.
        self.threads.count() > 1 && self.segment(1).is_some() && self.members <= MAX_TRIED_MEMBERS
    }

    /// How many bytes of the first segment are read.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// The segment of this index, from the one that is being read.
    pub(super) fn segment(&mut self, index: usize) -> Option<Arc<Segment>> {
        while self.segments.len() <= index
            && self.error.is_none()
            && self.segments.back().is_none_or(|segment| !segment.is_last)
        {
            let mut bytes = Vec::with_capacity(self.segment_bytes);
            let read = self.input.by_ref().take(self.segment_bytes as u64).read_to_end(&mut bytes);
            let is_last = read.and_then(|_| self.input.fill_buf()).map(<[u8]>::is_empty);
            let is_last = is_last.unwrap_or_else(|error| {
                self.error = Some(error);
                true
            });
            if bytes.is_empty() {
                break;
            }
            self.segments.push_back(Arc::new(Segment::new(bytes, is_last)));
        }
        self.segments.get(index).cloned()
    }

    /// Goes to so many bytes behind the beginning of the first segment.
    pub(super) fn go_to(&mut self, mut at: usize) {
        while let Some(first) = self.segments.front()
            && first.bytes.len() <= at
        {
            at -= first.bytes.len();
            self.pass_segment();
        }
        self.at = at;
    }

    /// Goes to the beginning of the second segment.
    pub(super) fn pass_segment(&mut self) {
        self.segments.pop_front();
        self.members = 0;
        self.at = 0;
    }
}

impl<R: BufRead> BufRead for Ahead<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if let Some(first) = self.segments.front() {
            return Ok(&first.bytes[self.at..]);
        }
        self.error.take().map_or_else(|| self.input.fill_buf(), Err)
    }

    fn consume(&mut self, length: usize) {
        match self.segments.is_empty() {
            true => self.input.consume(length),
            false => self.go_to(self.at + length),
        }
    }
}

impl<R: BufRead> Read for Ahead<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.fill_buf()?.read(buffer)?;
        self.consume(length);
        Ok(length)
    }
}
