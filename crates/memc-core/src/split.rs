//! Gzip members (RFC 1952) as plain text; large ones are inflated by several threads.
//!
//! One thread inflates at a fixed pace, however many cores there are. A deflate stream says nowhere where its
//! blocks begin, and each copies from the 32 KiB of text in front of it. Still it can be split. The input is
//! read ahead in segments. In each, a thread looks for what can hardly be anything but the beginning of a
//! block, and inflates from there up to the first block of the next segment; twice, with two stand-ins for
//! the window it does not know, so that the bytes copied from there are told by their difference. The window
//! comes from the thread in front; from then on, one decoder is enough, and it hands its own last 32 KiB on.
//! (Text without copies of copies would get along without, after a while; in logs the commas alone never do.)
//!
//! Whether a block ends where the next stretch begins is asked of the decoder that comes there. So a false
//! guess does not lead to wrong text, but to a plain decoder for the rest of the member; as does all that is
//! wrong or odd in it, so errors are those of the plain decoder, too. (In a member's last block the answer is
//! not certain; there its CRC has the last word.)

use std::collections::VecDeque;
use std::io::{self, BufRead, Read};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use flate2::Crc;
use flate2::bufread::{DeflateDecoder, GzDecoder};

use crate::blocks::{End, Segment, Stretch, WINDOW_BYTES, lead};

/// Packed bytes in a segment. Larger ones take more memory; in smaller ones the search for a block counts.
pub(crate) const SEGMENT_BYTES: usize = 1024 * 1024;

/// A gzip member on its way to plain text; its end is checked against its CRC and length.
pub(crate) enum Member<R> {
    Plain(GzDecoder<Ahead<R>>),
    Split(Split<R>),
}

impl<R: BufRead> Member<R> {
    pub(crate) fn new(mut input: Ahead<R>) -> Self {
        let is_large = input.threads.count() > 1 && input.segment(1).is_some();
        let member = GzDecoder::new(input);
        if is_large && member.header().is_some() {
            return Self::Split(Split::new(member.into_inner()));
        }
        Self::Plain(member)
    }

    /// What follows the member, when that is at its end.
    pub(crate) fn into_inner(self) -> Ahead<R> {
        match self {
            Self::Plain(member) => member.into_inner(),
            Self::Split(member) => member.body.into_inner(),
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

/// A packed input that can be read ahead of, with the threads that inflate what is.
pub(crate) struct Ahead<R> {
    input: R,
    segment_bytes: usize,
    segments: VecDeque<Arc<Segment>>,
    /// So much of the first segment is read; never all of it.
    at: usize,
    /// What ended the reading ahead, for who comes there.
    error: Option<io::Error>,
    threads: Threads,
}

impl<R: BufRead> Ahead<R> {
    pub(crate) fn new(input: R, threads: usize, segment_bytes: usize) -> Self {
        let threads = Threads { wanted: threads, tasks: None, running: Vec::new() };
        Self { input, segment_bytes, segments: VecDeque::new(), at: 0, error: None, threads }
    }

    /// The segment of this index, from the one that is being read.
    fn segment(&mut self, index: usize) -> Option<Arc<Segment>> {
        while self.segments.len() <= index && self.segments.back().is_none_or(|segment| !segment.is_last) {
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
    fn go_to(&mut self, mut at: usize) {
        while let Some(first) = self.segments.front()
            && first.bytes.len() <= at
        {
            at -= first.bytes.len();
            self.segments.pop_front();
        }
        self.at = at;
    }

    /// Goes to a bit of the first segment, and puts before it what a decoder must have read to begin there.
    fn begin_at(&mut self, bit: usize, window: &[u8]) {
        if let Some(first) = self.segments.pop_front() {
            let bytes = [&lead(window, bit, &first.bytes), &first.bytes[bit.div_ceil(8)..]].concat();
            self.segments.push_front(Arc::new(Segment::new(bytes, first.is_last)));
        }
        self.go_to(0);
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
    stop: StopOnDrop,
    /// Reads the rest, when it cannot be split any more.
    body: DeflateDecoder<Ahead<R>>,
}

enum State {
    InStretches,
    Rest,
    Trailer,
    Ended,
}

impl<R: BufRead> Split<R> {
    fn new(input: Ahead<R>) -> Self {
        Self {
            state: State::InStretches,
            pending: VecDeque::new(),
            bit: input.at * 8,
            window: Vec::with_capacity(2 * WINDOW_BYTES),
            next_window: None,
            text: Vec::new(),
            at: 0,
            stretches: 0,
            spares: Vec::new(),
            crc: Crc::new(),
            stop: StopOnDrop(Arc::default()),
            body: DeflateDecoder::new(input),
        }
    }

    /// Gives the threads what to do, and takes the text of the next stretch.
    fn next_stretch(&mut self) -> io::Result<()> {
        // A member that ends soon must not have made more of what follows it be inflated in vain than it has
        // itself.
        let most = self.stretches.min(self.body.get_ref().threads.count()) + 1;
        while self.pending.len() < most && self.begin_stretch() {}
        let text = self.pending.pop_front().and_then(|pending| pending.recv().ok());
        let input = self.body.get_mut();
        let Some(Text { bytes, own, crc, end }) = text else {
            self.stop.now();
            self.pending.clear();
            self.spares.clear();
            input.begin_at(self.bit, &self.window);
            self.state = State::Rest;
            let lead = self.window.len() as u64;
            return io::copy(&mut self.body.by_ref().take(lead), &mut io::sink()).map(drop);
        };
        self.crc.combine(&crc);
        self.window.extend(&bytes[own.max(bytes.len().saturating_sub(WINDOW_BYTES))..]);
        self.window.drain(..self.window.len().saturating_sub(WINDOW_BYTES));
        self.spares.push(std::mem::replace(&mut self.text, bytes));
        self.at = own;
        self.stretches += 1;
        match end {
            End::Block(bit) => {
                input.segments.pop_front();
                self.bit = bit;
            }
            End::Stream(at) => {
                self.stop.now();
                input.go_to(at);
                self.state = State::Trailer;
            }
        }
        Ok(())
    }

    /// False if there is nothing left to begin.
    fn begin_stretch(&mut self) -> bool {
        let input = self.body.get_mut();
        let index = self.pending.len();
        let Some(segment) = input.segment(index) else { return false };
        let next = input.segment(index + 1);
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

    fn check_trailer(&mut self) -> io::Result<()> {
        let mut trailer = [0; 8];
        self.body.get_mut().read_exact(&mut trailer)?;
        let wanted = [self.crc.sum().to_le_bytes(), self.crc.amount().to_le_bytes()].concat();
        if trailer[..] != wanted {
            let text = "corrupt gzip stream does not have a matching checksum";
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(())
    }
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
                State::Rest => match self.body.read(buffer)? {
                    0 => self.state = State::Trailer,
                    length => {
                        self.crc.update(&buffer[..length]);
                        return Ok(length);
                    }
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

/// A stretch to inflate.
struct Task {
    segment: Arc<Segment>,
    next: Option<Arc<Segment>>,
    /// Where it begins, if that is known.
    bit: Option<usize>,
    buffer: Vec<u8>,
    stop: Arc<AtomicBool>,
    /// The text in front of it comes from who inflates that, and goes on to who inflates the next stretch.
    window: Receiver<Vec<u8>>,
    next_window: Sender<Vec<u8>>,
    result: Sender<Text>,
}

/// The text of a stretch.
struct Text {
    /// Its own text begins at `own`.
    bytes: Vec<u8>,
    own: usize,
    crc: Crc,
    end: End,
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
        let (bytes, own) = inflated.complete()?;
        let mut crc = Crc::new();
        crc.update(&bytes[own..]);
        self.result.send(Text { bytes, own, crc, end }).ok()
    }
}

/// The threads that inflate, started when there is something to do. They are not rayon's: those wait for the
/// text while one of them reads, so what they waited for might never be done.
struct Threads {
    wanted: usize,
    tasks: Option<Sender<Task>>,
    running: Vec<JoinHandle<()>>,
}

impl Threads {
    fn count(&self) -> usize {
        self.wanted
    }

    /// False if there is no thread to run it.
    fn run(&mut self, task: Task) -> bool {
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
    use std::io::{Cursor, Write};

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use memc_testkit::{Sample, gzip};

    use super::*;

    type Packed = Cursor<Vec<u8>>;

    /// A member in which the encoder begins a new block after each `flush` bytes, at least.
    fn pack(text: &[u8], level: u32, flush: usize) -> io::Result<Vec<u8>> {
        let mut out = GzEncoder::new(Vec::new(), Compression::new(level));
        for piece in text.chunks(flush) {
            out.write_all(piece)?;
            out.flush()?;
        }
        out.finish()
    }

    /// What is hard to guess.
    fn noise(bytes: usize) -> Vec<u8> {
        let mut state = 1_u64;
        let next = |_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            state.to_be_bytes()[0]
        };
        (0..bytes).map(next).collect()
    }

    fn member(packed: Vec<u8>, threads: usize, segment_bytes: usize) -> Member<Packed> {
        Member::new(Ahead::new(Cursor::new(packed), threads, segment_bytes))
    }

    /// The text up to the end or the error, and whether it came from stretches only.
    fn read(mut member: Member<Packed>) -> (Vec<u8>, io::Result<Ahead<Packed>>, bool) {
        let mut text = Vec::new();
        let result = member.read_to_end(&mut text);
        let was_split = match &mut member {
            Member::Plain(_) => false,
            Member::Split(split) => split.body.total_out() == 0,
        };
        (text, result.map(|_| member.into_inner()), was_split)
    }

    #[test]
    fn any_text_comes_out_as_it_went_in() -> io::Result<()> {
        let log = Sample::new(1).text(2000);
        let mixed = [&log[..200_000], &noise(100_000), &log[200_000..400_000], &vec![0; 200_000]].concat();
        let texts = [log, mixed, noise(200_000), b"ab\tc\n".repeat(50_000), b"short".to_vec(), Vec::new()];
        for (number, text) in texts.iter().enumerate() {
            // At level 1, this encoder makes no codes of its own.
            for (level, flush) in [(1, 5000), (2, 3000), (6, 700), (6, usize::MAX), (9, 100_000)] {
                let packed = [pack(text, level, flush)?, b"more".to_vec()].concat();
                for (threads, segment_bytes) in [(2, 100_000), (3, 2000), (8, 20_000), (2, 300), (1, 2000)] {
                    let (out, input, was_split) = read(member(packed.clone(), threads, segment_bytes));
                    let what = format!("text {number}, {level}, {flush}, {threads} threads, {segment_bytes}");
                    assert!(out == *text, "{what}");
                    let mut more = Vec::new();
                    input?.read_to_end(&mut more)?;
                    assert_eq!(more, b"more", "{what}");
                    let must_split = number == 0 && level > 1 && segment_bytes == 100_000;
                    assert!(was_split || !must_split, "{what}");
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_broken_member_is_broken_in_the_same_way() -> io::Result<()> {
        let packed = pack(&Sample::new(2).text(150), 6, 2000)?;
        let check = |packed: Vec<u8>, what: &str| {
            let (text, result, _) = read(member(packed.clone(), 1, 1));
            let (split_text, split_result, _) = read(member(packed, 4, 3000));
            let common = text.len().min(split_text.len());
            assert!(text[..common] == split_text[..common], "{what}");
            assert_eq!(split_result.err().map(|it| it.kind()), result.err().map(|it| it.kind()), "{what}");
        };
        for cut in (0..packed.len()).step_by(211).chain(packed.len() - 12..=packed.len()) {
            check(packed[..cut].to_vec(), &format!("cut at {cut}"));
        }
        for at in (0..packed.len()).step_by(199).chain(packed.len() - 12..packed.len()) {
            let mut flipped = packed.clone();
            flipped[at] ^= 1 << (at % 8);
            check(flipped, &format!("flipped at {at}"));
        }
        Ok(())
    }

    #[test]
    fn a_read_error_comes_behind_the_text_before_it() -> io::Result<()> {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        let text = Sample::new(3).text(1000);
        let packed = pack(&text, 6, 2000)?;
        let input = io::BufReader::new(Cursor::new(&packed[..packed.len() / 2]).chain(Broken));
        let mut out = Vec::new();
        let result = Member::new(Ahead::new(input, 3, 5000)).read_to_end(&mut out);
        assert_eq!(result.map_err(|error| error.kind()), Err(io::ErrorKind::PermissionDenied));
        assert!(out.len() > text.len() / 3 && text.starts_with(&out), "{}", out.len());
        Ok(())
    }

    #[test]
    fn a_bomb_takes_no_memory() -> io::Result<()> {
        let mut member = member(gzip(&vec![0; 100 << 20])?, 4, 10_000);
        let length = io::copy(&mut member, &mut io::sink())?;
        assert_eq!(length, 100 << 20);
        let Member::Split(split) = member else { return Err(io::ErrorKind::Other.into()) };
        assert!(split.body.total_out() > 0 && split.text.capacity() < 1 << 20, "{}", split.text.capacity());
        Ok(())
    }

    #[test]
    fn nothing_goes_on_when_it_is_dropped() -> io::Result<()> {
        let packed = pack(&Sample::new(4).text(2000), 6, 2000)?;
        for bytes in [1, 100_000, 400_000] {
            let mut member = member(packed.clone(), 4, 5000);
            member.read_exact(&mut vec![0; bytes])?;
            let Member::Split(split) = &mut member else { return Err(io::ErrorKind::Other.into()) };
            let segments: Vec<_> = split.body.get_ref().segments.iter().cloned().collect();
            drop(member);
            assert!(segments.iter().all(|segment| Arc::strong_count(segment) == 1));
        }
        Ok(())
    }
}
