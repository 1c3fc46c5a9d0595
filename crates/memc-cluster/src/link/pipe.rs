//! The stream that timely is given for an attempt: one link's bytes of that attempt. It never fails.

use std::io::{self, Cursor, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use timely::communication::allocator::zero_copy::stream::Stream;

use crate::link::Link;
use crate::link::frame::{Kind, MAX_DATA_BYTES};
use crate::link::inbox::Piece;

/// One attempt's part of a link.
#[derive(Debug)]
pub(crate) struct Pipe {
    link: Arc<Link>,
    attempt: u32,
    current: Cursor<Vec<u8>>,
}

impl Pipe {
    pub(crate) fn new(link: &Arc<Link>, attempt: u32) -> Self {
        Self { link: Arc::clone(link), attempt, current: Cursor::default() }
    }
}

impl Read for Pipe {
    /// Waits for bytes. Once the attempt is over, which is when all workers have ended, it ends its thread: timely has no
    /// other end for one that has not read all.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.position() == self.current.get_ref().len() as u64 {
            match self.link.inbox.take(self.attempt) {
                Piece::Bytes(bytes) => self.current = Cursor::new(bytes),
                Piece::End => return Ok(0),
                // Without the hook, so that nobody sees it.
                Piece::Over => std::panic::resume_unwind(Box::new("the attempt is over")),
            }
        }
        self.current.read(buffer)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let length = bytes.len().min(MAX_DATA_BYTES);
        self.link.send(Kind::Data, self.attempt, &bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream for Pipe {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self::new(&self.link, self.attempt))
    }

    fn set_nonblocking(&self, _: bool) -> io::Result<()> {
        Ok(())
    }

    /// The link outlives the attempt.
    fn shutdown(&self, _: Shutdown) -> io::Result<()> {
        self.link.send(Kind::DataEnd, self.attempt, &[]);
        Ok(())
    }
}
