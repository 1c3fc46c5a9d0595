//! One large member, put together from stretches that several threads inflate.

use std::collections::VecDeque;
use std::io::BufRead;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};

use super::WINDOW_BYTES;
use super::ahead::Ahead;
use super::stretch::End;
use super::threads::{Task, Text};

/// See the module's text.
pub(super) struct Split {
    /// Stretches that are being inflated; the first one begins in the input's first segment.
    pending: VecDeque<Receiver<Text>>,
    /// The bit of the first segment at which the first stretch begins.
    pub(super) bit: usize,
    /// The text before it, or the last 32 KiB of that.
    pub(super) window: Vec<u8>,
    /// Where the text in front of the next stretch to begin will come from.
    next_window: Option<Receiver<Vec<u8>>>,
    stretches: usize,
    spares: Vec<Vec<u8>>,
    stop: StopOnDrop,
}

impl Split {
    /// A member whose text begins at this bit of the input's first segment.
    pub(super) fn new(bit: usize) -> Self {
        Self {
            pending: VecDeque::new(),
            bit,
            window: Vec::with_capacity(2 * WINDOW_BYTES),
            next_window: None,
            stretches: 0,
            spares: Vec::new(),
            stop: StopOnDrop(Arc::default()),
        }
    }

    /// Gives the threads what to do, and returns the next stretch; after `None` there will not be one.
    pub(super) fn next<R: BufRead>(&mut self, input: &mut Ahead<R>) -> Option<Text> {
        // A member that ends soon must not have made more of what follows it be inflated in vain than it has
        // itself.
        let most = self.stretches.min(input.threads.count()) + 1;
        while self.pending.len() < most && self.begin_stretch(input) {}
        let text = self.pending.pop_front()?.recv().ok()?;
        self.window.extend(&text.bytes[text.bytes.len().saturating_sub(WINDOW_BYTES).max(text.from)..]);
        self.window.drain(..self.window.len().saturating_sub(WINDOW_BYTES));
        self.stretches += 1;
        match text.end {
            End::Block(bit) => {
                input.pass_segment();
                self.bit = bit;
            }
            End::Stream(at) => input.go_to(at),
        }
        Some(text)
    }

    /// Has a later stretch use the memory of a text.
    pub(super) fn give_back(&mut self, text: Vec<u8>) {
        self.spares.push(text);
    }

    /// False if there is nothing left to begin.
    fn begin_stretch<R: BufRead>(&mut self, input: &mut Ahead<R>) -> bool {
        let index = self.pending.len();
        let Some(segment) = input.segment(index) else { return false };
        let next = input.segment(index + 1);
        let (window, bit) = match self.next_window.take() {
            Some(window) => (window, None),
            None => {
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
        let buffer = self.spares.pop().unwrap_or_default();
        input.threads.run(Task {
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
}

/// Ends what is done for a member in vain when it is not read any more.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
