//! The threads that inflate stretches.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use flate2::Crc;

use super::ahead::Segment;
use super::stretch::{End, Stretch};

/// A stretch to inflate.
pub(super) struct Task {
    pub(super) segment: Arc<Segment>,
    pub(super) next: Option<Arc<Segment>>,
    /// Where it begins, if that is known.
    pub(super) bit: Option<usize>,
    pub(super) buffer: Vec<u8>,
    pub(super) stop: Arc<AtomicBool>,
    /// The text in front of it comes from who inflates that, and goes on to who inflates the next stretch.
    pub(super) window: Receiver<Vec<u8>>,
    pub(super) next_window: Sender<Vec<u8>>,
    pub(super) result: Sender<Text>,
}

/// The text of a stretch: the bytes from `from` on.
pub(super) struct Text {
    pub(super) bytes: Vec<u8>,
    pub(super) from: usize,
    pub(super) crc: Crc,
    pub(super) end: End,
}

impl Task {
    /// Nothing is sent if the stretch cannot be inflated, or nobody waits for it any more.
    fn run(self) -> Option<()> {
        if self.stop.load(Ordering::Relaxed) {
            return None;
        }
        let stretch = Stretch {
            segment: &self.segment,
            next: self.next.as_deref(),
            bit: self.bit,
            window: &self.window,
        };
        let inflated = stretch.inflate(self.buffer, &self.stop)?;
        let end = inflated.end;
        if let End::Block(_) = end {
            // The next stretch waits for it, if there is one.
            let _ = self.next_window.send(inflated.next_window()?);
        }
        let (bytes, from) = inflated.complete()?;
        let mut crc = Crc::new();
        crc.update(&bytes[from..]);
        self.result.send(Text { bytes, from, crc, end }).ok()
    }
}

/// The threads that inflate, started when there is something to do. They are not rayon's: those wait for the
/// text while one of them reads, so what they waited for might never be done.
pub(super) struct Threads {
    wanted: usize,
    tasks: Option<Sender<Task>>,
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    pub(super) fn new(wanted: usize) -> Self {
        Self { wanted, tasks: None, running: Vec::new() }
    }

    pub(super) fn count(&self) -> usize {
        self.wanted
    }

    /// False if there is no thread to run it.
    pub(super) fn run(&mut self, task: Task) -> bool {
        let tasks = self.tasks.get_or_insert_with(|| {
            let (sender, tasks) = mpsc::channel();
            let tasks = Arc::new(Mutex::new(tasks));
            let start = |_| {
                let tasks = Arc::clone(&tasks);
                thread::Builder::new().name("inflate".to_owned()).spawn(move || work(&tasks)).ok()
            };
            self.running = (0..self.wanted).map_while(start).collect();
            sender
        });
        tasks.send(task).is_ok()
    }
}

fn work(tasks: &Mutex<Receiver<Task>>) {
    loop {
        let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(task) = task else { return };
        task.run();
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.tasks = None;
        // One that has panicked has told so; its stretch was read otherwise.
        self.running.drain(..).for_each(|thread| drop(thread.join()));
    }
}

#[cfg(test)]
mod tests {
    use memc_testkit::Sample;

    use super::*;

    /// Runs a task whose next segment has its first block at this bit; nothing may come of it.
    fn run_in_vain(threads: &mut Threads, next_bit: usize) {
        let segment = Arc::new(Segment::new(vec![0; 1000], false));
        let next = Some(Arc::new(Segment::with_first_block(Sample::new(1).text(1), next_bit)));
        let (_window, window) = mpsc::channel();
        let (window_sender, next_window) = mpsc::channel();
        let (sender, result) = mpsc::channel();
        threads.run(Task {
            segment,
            next,
            bit: Some(0),
            buffer: Vec::new(),
            stop: Arc::default(),
            window,
            next_window: window_sender,
            result: sender,
        });
        assert!(result.recv().is_err() && next_window.recv().is_err());
    }

    #[test]
    fn a_panic_of_a_thread_leaves_nobody_waiting() {
        let mut threads = Threads::new(1);
        // It looks behind the end of the segment; the thread is gone then.
        run_in_vain(&mut threads, usize::MAX / 2);
        run_in_vain(&mut threads, 0);
    }
}
