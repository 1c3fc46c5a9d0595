//! The other processes: the links to them, and what they say while an attempt runs.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use memc_core::{Error, ProgressHandle, ServerReport, StopHandle};
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Hooks};

use crate::attempt::Part;
use crate::error::{ClusterError, PeerError};
use crate::link::meet::Meeting;
use crate::link::pipe::Pipe;
use crate::link::pulse::Pulse;
use crate::link::{Incoming, Link};
use crate::message::{Begin, Message};
use crate::state::State;

/// How long a wait for a message may overlook that something has happened here.
const CHECK: Duration = Duration::from_millis(10);

/// The same while nothing is loaded.
const IDLE_CHECK: Duration = Duration::from_millis(50);

/// How often the first process hears how the servers of the others are doing.
const PROGRESS: Duration = Duration::from_secs(1);

/// A process gives others at least this long between two signs of life.
const MIN_PATIENCE: Duration = Duration::from_secs(2);

/// How long a process that ends waits until the others have read its last message.
const LINGER: Duration = Duration::from_secs(2);

/// How long a process whose work is done waits for that message, when others have ended already.
const DONE_GRACE: Duration = Duration::from_secs(1);

/// What there is to do next in a process that is not the first one.
#[derive(Debug)]
pub(crate) enum Next {
    Begin(Begin),
    /// Nothing: all is done, and the first process ends with this exit code.
    Done {
        exit_code: u8,
    },
}

/// The links of a process.
#[derive(Debug)]
pub(crate) struct Net {
    process: usize,
    address: String,
    links: Vec<Option<Arc<Link>>>,
    incoming: Receiver<Incoming>,
    /// Keeps `incoming` open, also when there is nobody else.
    _sender: Sender<Incoming>,
    pulse: Arc<Pulse>,
    /// What makes it impossible to go on.
    fatal: Option<PeerError>,
    patience: Duration,
}

impl Net {
    /// Meets the others.
    pub(crate) fn join(meeting: &Meeting<'_>) -> Result<Self, ClusterError> {
        let sockets = meeting.meet()?;
        let system = |source| ClusterError::System { source };
        let patience = meeting.timeout.max(MIN_PATIENCE);
        let (sender, incoming) = mpsc::channel();
        let address = |process| meeting.hosts.address(process).unwrap_or_default().to_owned();
        let mut links = Vec::new();
        for (process, socket) in sockets.into_iter().enumerate() {
            let start = |socket| Link::start(process, &address(process), socket, patience, sender.clone());
            links.push(socket.map(start).transpose().map_err(system)?);
        }
        let pulse = Pulse::start(patience).map_err(system)?;
        let process = meeting.own.process;
        Ok(Self {
            process,
            address: address(process),
            links,
            incoming,
            _sender: sender,
            pulse,
            fatal: None,
            patience,
        })
    }

    /// Why nothing can be done any more.
    pub(crate) fn fatal(&self) -> Option<PeerError> {
        self.fatal.clone()
    }

    pub(crate) fn links(&self) -> impl Iterator<Item = &Arc<Link>> {
        self.links.iter().flatten()
    }

    /// The link to the first process, from another one.
    pub(crate) fn first(&self) -> Option<&Arc<Link>> {
        self.links.first()?.as_ref()
    }

    pub(crate) fn send(&self, message: &Message) {
        self.links().for_each(|link| link.send_message(message));
    }

    /// What is asked now and then while an attempt runs here: whether it has to end.
    pub(crate) fn check(&self, stop: &StopHandle) -> impl Fn() -> Option<Error> + Send + Sync + 'static {
        let (stop, pulse, still) = (stop.clone(), Arc::clone(&self.pulse), self.was_still());
        move || {
            if pulse.is_still() {
                return Some(Error::Caller { source: still.clone().into() });
            }
            stop.is_requested().then_some(Error::Cancelled)
        }
    }

    /// What a process says that was stopped for so long that others may have given it up.
    fn was_still(&self) -> PeerError {
        let seconds = (self.patience * 3 / 4).as_secs_f64();
        let problem =
            format!("was itself stopped for more than {seconds:.1} s, so others may have gone on without it");
        PeerError { process: self.process, address: self.address.clone(), problem }
    }

    /// The allocators for the workers of an attempt.
    pub(crate) fn allocators(&self, attempt: u32, workers: usize) -> Result<Vec<AllocatorBuilder>, Error> {
        let threads = ProcessBuilder::new_typed_vector(workers, Hooks::default().refill, None);
        let pipes =
            self.links.iter().map(|link| link.as_ref().map(|link| Pipe::new(link, attempt))).collect();
        let (allocators, threads) =
            initialize_networking_from_sockets(threads, pipes, self.process, workers, Hooks::default())
                .map_err(|source| Error::Start { thread: "exchange", source })?;
        // It would wait for the threads and panic if one was ended. They end by themselves: when all was sent and
        // received, or when the attempt is over.
        std::mem::forget(threads);
        Ok(allocators.into_iter().map(AllocatorBuilder::Tcp).collect())
    }

    /// Hears the others while an attempt runs here, until it does no longer and, in the first process, all others have
    /// ended it too. Returns their reports on servers.
    pub(crate) fn attend(
        &mut self,
        attempt: u32,
        state: &State,
        runs: &AtomicBool,
        part: Part,
        progress: &ProgressHandle,
    ) -> Vec<ServerReport> {
        let mut reports = Vec::new();
        let mut reported = Instant::now();
        let mut has_ended: Vec<bool> = self.links.iter().map(Option::is_none).collect();
        let mut is_abort_known = false;
        loop {
            // Asked first: an abort of before the end is reported then.
            let is_over = !runs.load(Ordering::Acquire);
            if state.is_aborted() && !std::mem::replace(&mut is_abort_known, true) {
                self.report_abort(attempt, state);
            }
            if is_over && (self.process > 0 || self.fatal.is_some() || has_ended.iter().all(|it| *it)) {
                return reports;
            }
            if self.process > 0 && reported.elapsed() > PROGRESS {
                reported = Instant::now();
                self.first()
                    .iter()
                    .for_each(|it| it.send_message(&Message::Progress(part.progress(progress))));
            }
            let (from, message) = match self.incoming.recv_timeout(CHECK) {
                Ok(Incoming::Message(from, message)) => (from, message),
                Ok(Incoming::Lost(lost)) => {
                    self.fail(lost, state);
                    continue;
                }
                Err(_) => continue,
            };
            match message {
                Message::Abort { attempt: of, fault } if of == attempt => {
                    is_abort_known |= self.process > 0;
                    state.abort(fault.map_or(Error::Cancelled, Error::from));
                }
                Message::Ended { attempt: of, servers } if of == attempt => {
                    has_ended[from] = true;
                    reports.extend(servers);
                }
                Message::Event(event) => state.emit(event),
                Message::Progress(servers) => servers.iter().for_each(|it| progress.set_server(it)),
                Message::Failed(failed) => self.fail(self.as_seen_here(from, failed), state),
                _ => {}
            }
        }
    }

    /// An attempt is over here.
    pub(crate) fn end_attempt(&self, attempt: u32) {
        self.links().for_each(|link| link.inbox.end(attempt));
    }

    /// Waits for the first process to begin something, or to say that all is done.
    pub(crate) fn next(&mut self, stop: &StopHandle) -> Result<Next, ClusterError> {
        let mut lost: Option<(Instant, PeerError)> = None;
        loop {
            if let Some(fatal) = self.fatal() {
                return Err(fatal.into());
            }
            if stop.is_requested() {
                return Err(ClusterError::Cancelled);
            }
            match self.incoming.recv_timeout(IDLE_CHECK) {
                Ok(Incoming::Message(_, Message::Begin(begin))) => return Ok(Next::Begin(begin)),
                Ok(Incoming::Message(_, Message::Done { exit_code })) => return Ok(Next::Done { exit_code }),
                Ok(Incoming::Message(from, Message::Failed(failed))) => {
                    self.found(self.as_seen_here(from, failed));
                }
                Ok(Incoming::Message(..)) => {}
                // Others that know already that all is done may have ended.
                Ok(Incoming::Lost(error)) if error.process > 0 => {
                    lost.get_or_insert((Instant::now(), error));
                }
                Ok(Incoming::Lost(error)) => drop(self.found(error)),
                Err(_) if lost.as_ref().is_some_and(|(since, _)| since.elapsed() > DONE_GRACE) => {
                    lost.take().into_iter().for_each(|(_, error)| drop(self.found(error)));
                }
                Err(_) => {}
            }
        }
    }

    /// Says a last thing to all, and waits a while until they have read it.
    pub(crate) fn end(&self, last: &Message) {
        self.send(last);
        let until = Instant::now() + LINGER;
        self.links().for_each(|link| link.end(until));
    }

    /// What the others are to know of a process that ends early for this reason.
    pub(crate) fn failed(&self, why: &str) -> Message {
        let stopped = || PeerError {
            process: self.process,
            address: self.address.clone(),
            problem: format!("has stopped: {why}"),
        };
        Message::Failed(self.fatal().unwrap_or_else(stopped))
    }

    fn report_abort(&self, attempt: u32, state: &State) {
        if self.process == 0 {
            return self.send(&Message::Abort { attempt, fault: None });
        }
        let error = state.error();
        // A process that is asked to stop leaves the others, which says it all.
        if let (Some(first), Some(error)) = (self.first(), error.as_ref())
            && !matches!(error, Error::Cancelled)
        {
            first.send_message(&Message::Abort { attempt, fault: Some(error.into()) });
        }
    }

    fn fail(&mut self, error: PeerError, state: &State) {
        let error = self.found(error);
        state.abort(Error::Caller { source: error.into() });
    }

    /// Notes what makes it impossible to go on, and returns what was noted first. A process that was itself stopped has
    /// nothing to say of others.
    fn found(&mut self, error: PeerError) -> PeerError {
        let error = if self.pulse.is_still() { self.was_still() } else { error };
        self.fatal.get_or_insert(error).clone()
    }

    /// What another process says of one that is at fault: if that is this one, the other has given it up.
    fn as_seen_here(&self, from: usize, failed: PeerError) -> PeerError {
        if failed.process != self.process {
            return failed;
        }
        let address = self.links[from].as_ref().map(|link| link.address.clone()).unwrap_or_default();
        PeerError {
            process: from,
            address,
            problem: format!("has given this process up: {}", failed.problem),
        }
    }
}
