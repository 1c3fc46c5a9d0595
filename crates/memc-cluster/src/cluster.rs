//! The cluster as its caller sees it: one process with several workers, or several processes.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime};

use memc_core::stages::{Account, Books, Ended, Stages};
use memc_core::{
    DryRecord, Encode, Error, Event, EventResult, LoadError, Loader, RunReport, ServerReport, StopHandle,
};
use timely::communication::allocator::ProcessBuilder;
use timely::communication::{AllocatorBuilder, Hooks};

use crate::ahead::Ahead;
use crate::attempt::{Attempt, Part, Work};
use crate::error::ClusterError;
use crate::files::Files;
use crate::hosts::Hosts;
use crate::link::handshake::Hello;
use crate::link::meet::Meeting;
use crate::message::{Begin, Message};
use crate::net::{Net, Next};
use crate::state::State;

/// What a process needs to meet the others.
#[derive(Clone, Debug)]
pub struct Membership {
    /// The addresses of all processes.
    pub hosts: Hosts,
    /// The number of this one.
    pub process: usize,
    /// Workers of each process.
    pub workers: usize,
    /// What all processes know and nobody else. The exchange is not encrypted.
    pub secret: Vec<u8>,
    /// The version of the program, which has to be the same everywhere.
    pub version: String,
    /// Options that have to be the same everywhere, by name, with their values.
    pub options: Vec<(String, String)>,
    /// How long the processes wait for each other at the start, and how long (but at least 2 s) for a sign of life.
    pub timeout: Duration,
}

/// Workers that load several files at once, in one process or several.
#[derive(Debug)]
pub struct Cluster {
    part: Part,
    ahead: Ahead,
    net: Option<Net>,
    attempt: u32,
}

impl Cluster {
    /// This many workers, in this process alone.
    #[must_use]
    pub fn alone(workers: usize, ahead: Ahead) -> Self {
        let part = Part { process: 0, processes: 1, workers: workers.max(1) };
        Self { part, ahead, net: None, attempt: 0 }
    }

    /// Meets the other processes. The first one [loads](Self::load), the others [serve](Self::serve); each of them
    /// [ends](Self::end).
    ///
    /// # Errors
    ///
    /// If the processes do not all meet in time, or cannot work together.
    pub fn join(member: Membership, ahead: Ahead, stop: &StopHandle) -> Result<Self, ClusterError> {
        let Membership { hosts, process, workers, secret, version, mut options, timeout } = member;
        if process >= hosts.len() {
            return Err(ClusterError::Process { process, hosts: hosts.len() });
        }
        options.push(("the hosts file".to_owned(), hosts.joined()));
        let part = Part { process, processes: hosts.len(), workers: workers.max(1) };
        let own = Hello { version, process, options };
        let meeting = Meeting { hosts: &hosts, own, secret: &secret, timeout, stop };
        Ok(Self { part, ahead, net: Some(Net::join(&meeting)?), attempt: 0 })
    }

    /// Loads the files at these paths, as [`Loader::load`] does: what the servers hold at the end, the events, the
    /// report and the errors are the same. In the first process.
    ///
    /// # Errors
    ///
    /// Those of [`Loader::load`]. That another process is at fault is an [`Error::Caller`] with a
    /// [`PeerError`](crate::PeerError).
    pub fn load<E: Encode + Send + Sync + 'static>(
        &mut self,
        loader: &Loader<E>,
        paths: &[PathBuf],
        files: &Arc<dyn Files>,
        on_event: impl FnMut(Event) -> EventResult + Send,
    ) -> Result<RunReport, LoadError> {
        self.run(loader, paths, files, on_event, None::<fn(DryRecord<'_>)>)
    }

    /// Does everything but storing, as [`Loader::dry_run`] does. In the first process.
    ///
    /// # Errors
    ///
    /// Those of [`Loader::dry_run`], and as [`load`](Self::load).
    pub fn dry_run<E: Encode + Send + Sync + 'static>(
        &mut self,
        loader: &Loader<E>,
        paths: &[PathBuf],
        files: &Arc<dyn Files>,
        on_record: impl FnMut(DryRecord<'_>) + Send,
        on_event: impl FnMut(Event) -> EventResult + Send,
    ) -> Result<RunReport, LoadError> {
        self.run(loader, paths, files, on_event, Some(on_record))
    }

    fn run<E: Encode + Send + Sync + 'static, R: FnMut(DryRecord<'_>) + Send>(
        &mut self,
        loader: &Loader<E>,
        paths: &[PathBuf],
        files: &Arc<dyn Files>,
        on_event: impl FnMut(Event) -> EventResult + Send,
        mut on_record: Option<R>,
    ) -> Result<RunReport, LoadError> {
        let started = SystemTime::now();
        let stages = Stages::new(loader, on_record.is_some(), started)?;
        stages.attempts(on_event, |books| {
            if let Some(fatal) = self.net.as_ref().and_then(Net::fatal) {
                return Ended { error: Some(Error::Caller { source: fatal.into() }), servers: Vec::new() };
            }
            let first_file = books.first_input();
            let paths = paths[first_file..].to_vec();
            self.attempt += 1;
            if let Some(net) = &self.net {
                let paths = paths.iter().map(|path| path.as_os_str().as_bytes().to_vec()).collect();
                let begin =
                    Begin { attempt: self.attempt, is_dry: stages.is_dry(), started, paths, first_file };
                net.send(&Message::Begin(begin));
            }
            let emit = books.clone();
            let state = self.state(loader, Some(books.clone()), move |event| emit.emit(event));
            let work = Work { paths, first_file, files: Arc::clone(files), books: Some(books.clone()) };
            self.attempt(&stages, &state, work, on_record.as_mut())
        })
    }

    /// Does this process's part of what the first one loads, until all is done there. `on_event` gets the events of the
    /// servers that this process writes to; the first process gets them too. Returns the exit code of the first process.
    ///
    /// # Errors
    ///
    /// What keeps the processes from working together.
    pub fn serve<E: Encode + Send + Sync + 'static>(
        &mut self,
        loader: &Loader<E>,
        files: &Arc<dyn Files>,
        on_event: impl Fn(Event) + Clone + Send + Sync + 'static,
    ) -> Result<u8, ClusterError> {
        let stop = loader.stop_handle();
        while let Some(net) = &mut self.net {
            let Begin { attempt, is_dry, started, paths, first_file } = match net.next(&stop)? {
                Next::Begin(begin) => begin,
                Next::Done { exit_code } => return Ok(exit_code),
            };
            let first = net.first().cloned();
            self.attempt = attempt;
            let stages = Stages::new(loader, is_dry, started)
                .map_err(|stopped| ClusterError::Load { source: stopped.error })?;
            let on_event = on_event.clone();
            let state = self.state(loader, None, move |event: Event| {
                if let Some(first) = &first {
                    first.send_message(&Message::Event(event.clone()));
                }
                on_event(event);
            });
            let paths = paths.into_iter().map(|path| OsString::from_vec(path).into()).collect();
            let work = Work { paths, first_file, files: Arc::clone(files), books: None };
            let ended = self.attempt(&stages, &state, work, None::<&mut fn(DryRecord<'_>)>);
            if let Some(first) = self.net.as_ref().and_then(Net::first) {
                first.send_message(&Message::Progress(self.part.progress(&loader.progress_handle())));
                first.send_message(&Message::Ended { attempt, servers: ended.servers });
            }
            if let Some(Error::Caller { source }) = ended.error
                && self.net.as_ref().is_some_and(|net| net.fatal().is_none())
            {
                return Err(ClusterError::Own { source });
            }
        }
        Ok(0)
    }

    /// Leaves the others, which end too then: all is done, and the first process ends with this exit code; or this is why
    /// this process ends early.
    pub fn end(self, result: Result<u8, &str>) {
        let Some(net) = self.net else { return };
        match result {
            Ok(exit_code) => net.end(&Message::Done { exit_code }),
            Err(why) => net.end(&net.failed(why)),
        }
    }

    fn state<E: Encode>(
        &self,
        loader: &Loader<E>,
        books: Option<Books>,
        on_event: impl Fn(Event) + Send + Sync + 'static,
    ) -> Arc<State> {
        let stop = loader.stop_handle();
        Arc::new(match &self.net {
            Some(net) => State::new(books, on_event, net.check(&stop)),
            None => State::new(books, on_event, move || stop.is_requested().then_some(Error::Cancelled)),
        })
    }

    /// Runs an attempt here, hearing the others meanwhile.
    fn attempt<E: Encode + Send + Sync + 'static>(
        &mut self,
        stages: &Stages<E>,
        state: &Arc<State>,
        work: Work,
        on_record: Option<&mut (impl FnMut(DryRecord<'_>) + Send)>,
    ) -> Ended {
        let Self { part, ahead, net, attempt: number } = self;
        let (part, number) = (*part, *number);
        let allocators = match net {
            Some(net) => net.allocators(number, part.workers),
            None => {
                let threads = ProcessBuilder::new_typed_vector(part.workers, Hooks::default().refill, None);
                Ok(threads.into_iter().map(AllocatorBuilder::Process).collect())
            }
        };
        let allocators = allocators.unwrap_or_else(|error| {
            state.abort(error);
            Vec::new()
        });
        let attempt = Attempt { part, ahead: *ahead, stages, state: Arc::clone(state), work };
        let Some(net) = net else {
            let servers = attempt.run(allocators, on_record);
            return Ended { error: state.take_error(), servers };
        };
        let runs = &AtomicBool::new(true);
        let servers = thread::scope(|scope| {
            let (net, progress) = (&mut *net, stages.progress_handle());
            let hearing = scope.spawn(move || net.attend(number, state, runs, part, &progress));
            let mut servers = attempt.run(allocators, on_record);
            runs.store(false, Ordering::Release);
            let others: Vec<ServerReport> = hearing.join().unwrap_or_default();
            servers.extend(others);
            servers
        });
        net.end_attempt(number);
        Ended { error: state.take_error(), servers }
    }
}
