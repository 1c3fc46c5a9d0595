//! What the thread of one connection works with.

use crate::buffers::BufferPool;
use crate::order::ledger::Ledger;
use crate::order::reorder::ReorderQueue;
use crate::wire::batch::Batch;

/// What the thread of one connection works with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane<'a> {
    pub(crate) index: usize,
    pub(crate) turns: &'a ReorderQueue,
    pub(crate) ledger: &'a Ledger,
    pub(crate) spares: &'a BufferPool<Batch>,
}
