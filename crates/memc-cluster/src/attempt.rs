//! One attempt over the files in one process: starts the workers and what serves the lanes, and ends them.

use std::any::Any;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;

use memc_core::stages::{Books, End, LocalLane, Stages};
use memc_core::{DryRecord, Encode, Error, ProgressHandle, ServerProgress, ServerReport};
use timely::WorkerConfig;
use timely::communication::AllocatorBuilder;

use crate::ahead::Ahead;
use crate::files::Files;
use crate::flow::shared::Flow;
use crate::flow::worker;
use crate::state::{Desk, State};

/// Which part of a cluster a process is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part {
    pub(crate) process: usize,
    pub(crate) processes: usize,
    /// Workers of each process.
    pub(crate) workers: usize,
}

impl Part {
    /// The worker of each lane. All lanes of a server are in one process, which knows the server then; those of a dry run
    /// are all with the first worker, which shows the records in their order.
    fn owners<E: Encode>(self, stages: &Stages<E>) -> Vec<usize> {
        let owner = |lane| {
            let (server, connection) = stages.of_lane(lane);
            let thread = (server / self.processes + connection) % self.workers;
            self.process_of(server) * self.workers + thread
        };
        (0..stages.lanes()).map(|lane| if stages.is_dry() { 0 } else { owner(lane) }).collect()
    }

    fn owns(self, worker: usize) -> bool {
        worker / self.workers == self.process
    }

    /// How the servers are doing that this process writes to.
    pub(crate) fn progress(self, of_all: &ProgressHandle) -> Vec<ServerProgress> {
        let servers = of_all.servers().into_iter().enumerate();
        servers.filter(|(server, _)| self.process_of(*server) == self.process).map(|(_, it)| it).collect()
    }

    /// The process that writes to a server.
    fn process_of(self, server: usize) -> usize {
        server % self.processes
    }
}

/// What an attempt is made with.
pub(crate) struct Attempt<'a, E> {
    pub(crate) part: Part,
    pub(crate) ahead: Ahead,
    pub(crate) stages: &'a Stages<E>,
    pub(crate) state: Arc<State>,
    pub(crate) work: Work,
}

/// What is to be done in an attempt.
pub(crate) struct Work {
    pub(crate) paths: Vec<PathBuf>,
    /// The number of the first of these files in the load.
    pub(crate) first_file: usize,
    pub(crate) files: Arc<dyn Files>,
    /// In the first process.
    pub(crate) books: Option<Books>,
}

impl<E: Encode + Send + Sync + 'static> Attempt<'_, E> {
    /// Runs the workers on these allocators until all is finished or the attempt is aborted, and returns the reports on
    /// the servers. Why it was aborted stays with the state, for those who have to be informed of it.
    pub(crate) fn run(
        self,
        allocators: Vec<AllocatorBuilder>,
        on_record: Option<&mut (impl FnMut(DryRecord<'_>) + Send)>,
    ) -> Vec<ServerReport> {
        let Self { part, ahead, stages, state, work: Work { paths, first_file, files, books } } = self;
        let owners = part.owners(stages);
        let lanes: Vec<_> = owners.iter().map(|_| (stages.turns(), Desk::new(&state))).collect();
        let flow = Arc::new(Flow {
            stages: stages.clone(),
            state: Arc::clone(&state),
            paths,
            first_file,
            files,
            ahead,
            owners,
            lanes,
            books: Mutex::new(books),
        });
        let local: Vec<_> = (0..)
            .zip(flow.owners.iter().zip(&flow.lanes))
            .filter(|(_, (owner, _))| part.owns(**owner))
            .map(|(lane, (_, (turns, account)))| LocalLane { lane, turns, account })
            .collect();
        let close = || local.iter().for_each(|lane| lane.turns.close());
        let end = || {
            let is_aborted = state.is_aborted();
            match &*state.error() {
                None if !is_aborted => End::Done,
                Some(Error::Restarted { .. }) => End::StartsAgain,
                _ => End::Stopped,
            }
        };
        let servers = thread::scope(|scope| {
            let serving =
                thread::Builder::new().name("lanes".to_owned()).spawn_scoped(scope, || match on_record {
                    Some(on_record) => Ok(stages.show(&local, on_record)),
                    None => stages.serve(&local, end, &|event| state.emit(event)),
                });
            let serving = match serving {
                Ok(serving) => serving,
                Err(source) => return Err(Error::Start { thread: "lanes", source }),
            };
            work(&flow, allocators);
            close();
            serving.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        servers.unwrap_or_else(|error| {
            state.abort(error);
            Vec::new()
        })
    }
}

/// Runs the workers to their end; a panic of one is passed on.
fn work<E: Encode + Send + Sync + 'static>(flow: &Arc<Flow<E>>, allocators: Vec<AllocatorBuilder>) {
    let worker_flow = Arc::clone(flow);
    let nothing_to_keep: Box<dyn Any + Send> = Box::new(());
    let workers =
        timely::execute::execute_from(allocators, nothing_to_keep, WorkerConfig::default(), move |worker| {
            worker::work(&worker_flow, worker);
        });
    match workers {
        Ok(workers) => {
            if let Some(panic) = workers.join().into_iter().find_map(Result::err) {
                std::panic::resume_unwind(Box::new(panic));
            }
        }
        Err(error) => {
            flow.state.abort(Error::Start { thread: "worker", source: std::io::Error::other(error) });
        }
    }
}
