//! How long the other side may take, and that a stop shortens it.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::StopHandle;
use crate::wire::stream::Stream;

/// How long a wait may overlook that a stop is asked for.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// How long to wait for a server: for anything it does, and after a stop is asked for, for all of it.
#[derive(Clone, Debug)]
pub(crate) struct Patience {
    pub(crate) io_timeout: Duration,
    stop: StopHandle,
}

impl Patience {
    pub(crate) fn new(io_timeout: Duration, stop: &StopHandle) -> Self {
        Self { io_timeout, stop: stop.clone() }
    }

    /// What is left of the time for something that is waited for since then.
    pub(crate) fn left(&self, since: Instant) -> Duration {
        let left = self.io_timeout.saturating_sub(since.elapsed());
        match self.stop.requested_for() {
            Some(time) => left.min(self.io_timeout.saturating_sub(time)),
            None => left,
        }
    }

    /// Waits until there is something to read or, if `writing`, room to write.
    ///
    /// # Errors
    ///
    /// `TimedOut` if nothing that counts has come since `since` for too long.
    pub(crate) fn wait(&self, stream: &Stream, writing: bool, since: Instant) -> io::Result<()> {
        let flags = if writing { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN };
        loop {
            let left = self.left(since);
            if stream.poll(flags, left.min(STOP_CHECK))? {
                return Ok(());
            }
            if left <= STOP_CHECK {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer"));
            }
        }
    }
}
