//! The cluster as its caller sees it: one process with several workers, or several processes.

use std::path::PathBuf;
use std::sync::Arc;

use memc_core::stages::{Account, Stages};
use memc_core::{DryRecord, Encode, Event, EventResult, LoadError, Loader, RunReport};
use timely::communication::allocator::ProcessBuilder;
use timely::communication::{AllocatorBuilder, Hooks};

use crate::attempt::{Attempt, Part};
use crate::files::Files;
use crate::flow::Limits;
use crate::state::State;

/// How far a cluster reads ahead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ahead {
    /// How many files may be read beyond the oldest that is not finished.
    pub files: usize,
    /// How many bytes of encoded records a worker may have in flight: those that are not acknowledged, and those that
    /// wait for the files before theirs.
    pub bytes: usize,
}

/// Workers that load several files at once.
#[derive(Debug)]
pub struct Cluster {
    part: Part,
    limits: Limits,
}

impl Cluster {
    /// So many workers in this process alone.
    #[must_use]
    pub fn alone(workers: usize, ahead: Ahead) -> Self {
        let part = Part { process: 0, processes: 1, workers: workers.max(1) };
        Self { part, limits: Limits { files_ahead: ahead.files, bytes_ahead: ahead.bytes } }
    }

    /// Loads the files at these paths, as [`Loader::load`] does: what the servers hold at the end, the events, the
    /// report and the errors are the same.
    ///
    /// # Errors
    ///
    /// Those of [`Loader::load`].
    pub fn load<E: Encode + Send + Sync + 'static>(
        &mut self,
        loader: &Loader<E>,
        paths: &[PathBuf],
        files: &Arc<dyn Files>,
        on_event: impl FnMut(Event) -> EventResult + Send,
    ) -> Result<RunReport, LoadError> {
        self.run(loader, paths, files, on_event, None::<fn(DryRecord<'_>)>)
    }

    /// Does everything but storing, as [`Loader::dry_run`] does.
    ///
    /// # Errors
    ///
    /// Those of [`Loader::dry_run`].
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
        let stages = Stages::new(loader, on_record.is_some())?;
        stages.attempts(on_event, |books| {
            let emit = books.clone();
            let stop = loader.stop_handle();
            let check = move || stop.is_requested().then_some(memc_core::Error::Cancelled);
            let state = State::new(Some(books.clone()), move |event| emit.emit(event), check);
            let attempt = Attempt {
                part: self.part,
                limits: self.limits,
                stages: &stages,
                state: Arc::new(state),
                paths: paths[books.first_input()..].to_vec(),
                first_file: books.first_input(),
                files: Arc::clone(files),
                books: Some(books.clone()),
            };
            let threads = ProcessBuilder::new_typed_vector(self.part.workers, Hooks::default().refill, None);
            let allocators = threads.into_iter().map(AllocatorBuilder::Process).collect();
            attempt.run(allocators, on_record.as_mut())
        })
    }
}
