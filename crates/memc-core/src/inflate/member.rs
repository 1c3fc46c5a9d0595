//! A gzip member (RFC 1952): plain, or large and put together from stretches, with its checksum.

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};

use flate2::bufread::GzDecoder;
use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::WINDOW_BYTES;
use super::ahead::Ahead;
use super::bits::begin_at;
use super::stretch::End;
use super::threads::{Task, Text};

#[cfg(test)]
mod tests;

/// A gzip member on its way to plain text; its end is checked against its CRC and length.
pub(crate) enum Member<R> {
    Plain(GzDecoder<Ahead<R>>),
    Split(Split<R>),
}

impl<R: BufRead> Member<R> {
    pub(crate) fn new(mut input: Ahead<R>) -> Self {
        let may_be_split = input.begin_member();
        let member = GzDecoder::new(input);
        if may_be_split && member.header().is_some() {
            return Self::Split(Split::new(member.into_inner()));
        }
        Self::Plain(member)
    }

    /// What follows the member, when that is at its end.
    pub(crate) fn into_inner(self) -> Ahead<R> {
        match self {
            Self::Plain(member) => member.into_inner(),
            Self::Split(member) => member.input,
        }
    }
}

impl<R: BufRead> Read for Member<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(member) => member.read(buffer),
            Self::Split(member) => member.read(buffer),
        }
    }
}

/// A large member, behind its header.
pub(crate) struct Split<R> {
    state: State,
    /// Stretches that are being inflated; the first one begins in the input's first segment.
    pending: VecDeque<Receiver<Text>>,
    /// The bit of the first segment at which the first stretch begins.
    bit: usize,
    /// The text before it, or the last 32 KiB of that.
    window: Vec<u8>,
    /// Where the text in front of the next stretch to begin will come from.
    next_window: Option<Receiver<Vec<u8>>>,
    /// The text of the last stretch, of which the part from `at` on has not been taken.
    text: Vec<u8>,
    at: usize,
    stretches: usize,
    spares: Vec<Vec<u8>>,
    crc: Crc,
    /// Before the input, so that its threads are told to stop before they are waited for.
    stop: StopOnDrop,
    input: Ahead<R>,
    /// Inflates the rest, when that cannot be split.
    rest: Decompress,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    InStretches,
    InRest,
    Trailer,
    Ended,
}

impl<R: BufRead> Split<R> {
    fn new(input: Ahead<R>) -> Self {
        Self {
            state: State::InStretches,
            pending: VecDeque::new(),
            bit: input.at() * 8,
            window: Vec::with_capacity(2 * WINDOW_BYTES),
            next_window: None,
            text: Vec::new(),
            at: 0,
            stretches: 0,
            spares: Vec::new(),
            crc: Crc::new(),
            stop: StopOnDrop(Arc::default()),
            input,
            rest: Decompress::new(false),
        }
    }

    /// Gives the threads what to do, and takes the text of the next stretch.
    fn next_stretch(&mut self) -> io::Result<()> {
        // A member that ends soon must not have made more of what follows it be inflated in vain than it has
        // itself.
        let most = self.stretches.min(self.input.threads.count()) + 1;
        while self.pending.len() < most && self.begin_stretch() {}
        let text = self.pending.pop_front().and_then(|pending| pending.recv().ok());
        let Some(Text { bytes, crc, end }) = text else { return self.begin_rest() };
        self.crc.combine(&crc);
        self.window.extend(&bytes[bytes.len().saturating_sub(WINDOW_BYTES)..]);
        self.window.drain(..self.window.len().saturating_sub(WINDOW_BYTES));
        self.spares.push(std::mem::replace(&mut self.text, bytes));
        self.at = 0;
        self.stretches += 1;
        match end {
            End::Block(bit) => {
                self.input.pass_segment();
                self.bit = bit;
            }
            End::Stream(at) => {
                self.stop.now();
                self.input.go_to(at);
                self.state = State::Trailer;
            }
        }
        Ok(())
    }

    /// False if there is nothing left to begin.
    fn begin_stretch(&mut self) -> bool {
        let index = self.pending.len();
        let Some(segment) = self.input.segment(index) else { return false };
        let next = self.input.segment(index + 1);
        let (window, bit) = match self.next_window.take() {
            Some(window) if index > 0 => (window, None),
            _ => {
                let (sender, window) = mpsc::channel();
                // Its receiver is at hand, so it takes it.
                let _ = sender.send(self.window.clone());
                (window, Some(self.bit))
            }
        };
        let (window_sender, next_window) = mpsc::channel();
        self.next_window = Some(next_window);
        let (sender, pending) = mpsc::channel();
        self.pending.push_back(pending);
        let stop = Arc::clone(&self.stop.0);
        let mut buffer = self.spares.pop().unwrap_or_default();
        buffer.clear();
        self.input.threads.run(Task {
            segment,
            next,
            bit,
            buffer,
            stop,
            window,
            next_window: window_sender,
            result: sender,
        })
    }

    /// Gives up the stretches that are not taken; what they would have been is inflated here.
    fn begin_rest(&mut self) -> io::Result<()> {
        self.stop.now();
        self.pending.clear();
        self.spares.clear();
        self.state = State::InRest;
        let begun = match self.input.segment(0) {
            Some(first) => begin_at(&mut self.rest, &self.window, self.bit, &first.bytes),
            None => Some(()),
        };
        self.input.go_to(self.bit.div_ceil(8));
        begun.ok_or_else(corrupt_deflate)
    }

    /// Reads of the rest; nothing at its end.
    fn read_rest(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let packed = self.input.fill_buf()?;
            let is_end = packed.is_empty();
            let before = (self.rest.total_in(), self.rest.total_out());
            let status = self.rest.decompress(packed, buffer, FlushDecompress::None);
            let read = self.rest.total_in() - before.0;
            let written = self.rest.total_out() - before.1;
            self.input.consume(usize::try_from(read).unwrap_or(usize::MAX));
            let written = usize::try_from(written).unwrap_or(usize::MAX);
            self.crc.update(&buffer[..written]);
            match status {
                Err(_) => return Err(corrupt_deflate()),
                Ok(Status::StreamEnd) => self.state = State::Trailer,
                Ok(_) if written == 0 && is_end => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) if written == 0 => continue,
                Ok(_) => {}
            }
            return Ok(written);
        }
    }

    fn check_trailer(&mut self) -> io::Result<()> {
        let mut trailer = [0; 8];
        self.input.read_exact(&mut trailer)?;
        let wanted = [self.crc.sum().to_le_bytes(), self.crc.amount().to_le_bytes()].concat();
        if trailer[..] != wanted {
            let text = "corrupt gzip stream does not have a matching checksum";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(())
    }
}

/// As flate2 has it.
fn corrupt_deflate() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "corrupt deflate stream")
}

impl<R: BufRead> Read for Split<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.at < self.text.len() || buffer.is_empty() {
                let length = (&self.text[self.at..]).read(buffer)?;
                self.at += length;
                return Ok(length);
            }
            match self.state {
                State::InStretches => self.next_stretch()?,
                State::InRest => match self.read_rest(buffer)? {
                    0 => {}
                    length => return Ok(length),
                },
                State::Trailer => {
                    self.check_trailer()?;
                    self.state = State::Ended;
                }
                State::Ended => return Ok(0),
            }
        }
    }
}

/// Ends what is done for a member in vain when it is not read any more.
struct StopOnDrop(Arc<AtomicBool>);

impl StopOnDrop {
    fn now(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.now();
    }
}
