//! An input that may be slow: read and decompressed on a thread of its own, so that a wait for it can end.

use std::io::{self, Cursor, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

/// Read and handed over at once, at most.
const PIECE_BYTES: usize = 64 * 1024;

/// How many pieces may wait.
const MAX_WAITING_PIECES: usize = 2;

/// How long a wait may overlook that it is to end.
const END_CHECK: Duration = Duration::from_millis(20);

/// The text of an input, as far as it has arrived.
///
/// A read waits. It gives up with [`WouldBlock`](io::ErrorKind::WouldBlock) when `linger` has passed since the first
/// byte that was read after the last time it gave up, or when the load is over and nothing that was read is left.
pub(crate) struct Feed<'a> {
    pieces: Receiver<io::Result<Vec<u8>>>,
    current: Cursor<Vec<u8>>,
    has_ended: bool,
    linger: Duration,
    give_up_at: Option<Instant>,
    is_over: Box<dyn Fn() -> bool + Send + 'a>,
    closed: Arc<AtomicBool>,
}

impl<'a> Feed<'a> {
    /// Starts the thread, on which the text is opened too. The thread outlives this if the source keeps it waiting.
    ///
    /// # Errors
    ///
    /// If the thread cannot be started.
    pub(crate) fn start<R: Read>(
        open: impl FnOnce() -> io::Result<R> + Send + 'static,
        linger: Duration,
        is_over: impl Fn() -> bool + Send + 'a,
    ) -> io::Result<Self> {
        let (sender, pieces) = mpsc::sync_channel(MAX_WAITING_PIECES);
        let closed = Arc::new(AtomicBool::new(false));
        let of_thread = Arc::clone(&closed);
        thread::Builder::new().name("input".to_owned()).spawn(move || {
            // A source that panics fails as one that returns an error does.
            let panicked = |_| Err(io::Error::other("the input's reader panicked"));
            let end =
                catch_unwind(AssertUnwindSafe(|| feed(open, &sender, &of_thread))).unwrap_or_else(panicked);
            if !matches!(end, Ok(End::Unwanted)) {
                // The receiver may be gone.
                let _ = sender.send(end.map(|_| Vec::new()));
            }
        })?;
        let current = Cursor::default();
        let is_over = Box::new(is_over);
        Ok(Self { pieces, current, has_ended: false, linger, give_up_at: None, is_over, closed })
    }

    /// The next piece, if one comes in time; an empty one at the end.
    fn next(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let is_over = (self.is_over)();
            if is_over {
                self.closed.store(true, Ordering::Relaxed);
            }
            let left = self.give_up_at.map(|at| at.saturating_duration_since(Instant::now()));
            let patience = if is_over { Duration::ZERO } else { left.unwrap_or(END_CHECK).min(END_CHECK) };
            match self.pieces.recv_timeout(patience) {
                Ok(piece) => return piece,
                Err(RecvTimeoutError::Timeout) if is_over || left.is_some_and(|left| left.is_zero()) => {
                    return Err(io::ErrorKind::WouldBlock.into());
                }
                Err(RecvTimeoutError::Timeout) => {}
                // The thread has ended because this load is over.
                Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::WouldBlock.into()),
            }
        }
    }
}

impl Read for Feed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.current.position() == self.current.get_ref().len() as u64 && !self.has_ended {
            match self.next() {
                Ok(piece) => {
                    self.has_ended = piece.is_empty();
                    self.current = Cursor::new(piece);
                    self.give_up_at = self.give_up_at.or_else(|| Instant::now().checked_add(self.linger));
                }
                Err(error) => {
                    self.give_up_at = None;
                    return Err(error);
                }
            }
        }
        self.current.read(buffer)
    }
}

impl Drop for Feed<'_> {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
    }
}

/// Why the thread has ended.
enum End {
    OfText,
    Unwanted,
}

/// Sends what is read to the end of the text, or until the load is over.
fn feed<R: Read>(
    open: impl FnOnce() -> io::Result<R>,
    sender: &SyncSender<io::Result<Vec<u8>>>,
    closed: &AtomicBool,
) -> io::Result<End> {
    let mut text = open()?;
    let mut buffer = vec![0; PIECE_BYTES];
    while !closed.load(Ordering::Relaxed) {
        let length = match text.read(&mut buffer) {
            Ok(0) => return Ok(End::OfText),
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if sender.send(Ok(buffer[..length].to_vec())).is_err() {
            break;
        }
    }
    Ok(End::Unwanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a piece when it is sent one.
    struct Fed(Receiver<&'static [u8]>);

    impl Read for Fed {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.0.recv().map_or(Ok(0), |mut piece| piece.read(buffer))
        }
    }

    fn read(feed: &mut Feed<'_>) -> Result<String, io::ErrorKind> {
        let mut buffer = [0; 10];
        let length = feed.read(&mut buffer).map_err(|error| error.kind())?;
        Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
    }

    #[test]
    fn a_read_gives_up_when_nothing_more_has_come_in_time() {
        let (source, fed) = mpsc::channel();
        let is_over = AtomicBool::new(false);
        let linger = Duration::from_millis(50);
        let mut feed =
            Feed::start(|| Ok(Fed(fed)), linger, || is_over.load(Ordering::Relaxed)).expect("a thread");
        for piece in [b"one", b"two"] {
            source.send(&piece[..]).expect("it is read");
        }
        let started = Instant::now();
        assert_eq!((read(&mut feed), read(&mut feed)), (Ok("one".to_owned()), Ok("two".to_owned())));
        assert_eq!(read(&mut feed), Err(io::ErrorKind::WouldBlock));
        assert!(started.elapsed() >= linger, "{:?}", started.elapsed());
        thread::scope(|scope| {
            let waiting = scope.spawn(|| read(&mut feed));
            thread::sleep(2 * linger);
            assert!(!waiting.is_finished(), "without a byte there is nothing to give up for");
            is_over.store(true, Ordering::Relaxed);
            assert_eq!(waiting.join().ok(), Some(Err(io::ErrorKind::WouldBlock)));
        });
        drop(source);
    }

    #[test]
    fn an_input_that_is_left_has_not_ended() {
        let is_over = AtomicBool::new(false);
        let mut feed =
            Feed::start(|| Ok(io::repeat(b'x')), Duration::from_secs(60), || is_over.load(Ordering::Relaxed))
                .expect("a thread");
        assert!(read(&mut feed).is_ok());
        is_over.store(true, Ordering::Relaxed);
        let end =
            std::iter::repeat_with(|| read(&mut feed)).find(|it| !it.as_ref().is_ok_and(|it| !it.is_empty()));
        assert_eq!(end, Some(Err(io::ErrorKind::WouldBlock)), "what was read comes, and then no end");
    }

    #[test]
    fn the_end_of_a_source_is_the_end() {
        let mut feed = Feed::start(|| Ok(&b"one"[..]), Duration::from_secs(60), || false).expect("a thread");
        for text in ["one", "", ""] {
            assert_eq!(read(&mut feed), Ok(text.to_owned()));
        }
    }

    #[test]
    fn an_error_and_a_panic_of_the_source_are_errors() {
        struct Panics;
        impl Read for Panics {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                std::panic::resume_unwind(Box::new("a source's own bug"));
            }
        }
        let forever = Duration::from_secs(60);
        let mut feed = Feed::start(|| Ok(Panics), forever, || false).expect("a thread");
        assert_eq!(read(&mut feed), Err(io::ErrorKind::Other));
        let open = || Err::<Panics, _>(io::ErrorKind::PermissionDenied.into());
        let mut feed = Feed::start(open, forever, || false).expect("a thread");
        assert_eq!(read(&mut feed), Err(io::ErrorKind::PermissionDenied));
    }
}
