//! What the workers of one process share in an attempt.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use memc_core::stages::{Books, Stages, Turns};

use crate::ahead::Ahead;
use crate::files::Files;
use crate::state::{Desk, State};

/// What the workers of one process share in an attempt.
pub(crate) struct Flow<E> {
    pub(crate) stages: Stages<E>,
    pub(crate) state: Arc<State>,
    /// The files of the attempt in their order; the first of them is number `first_file` of the load.
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) first_file: usize,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) ahead: Ahead,
    /// For each lane its worker.
    pub(crate) owners: Vec<usize>,
    /// For each lane its turns and its desk, used where its worker is.
    pub(crate) lanes: Vec<(Turns, Desk)>,
    /// Taken by the first worker of all.
    pub(crate) books: Mutex<Option<Books>>,
}
