//! What the thread of one lane works with: it takes the batches out of a queue and has them acknowledged.

use crate::buffers::BufferPool;
use crate::order::account::Account;
use crate::order::reorder::ReorderQueue;
use crate::wire::batch::Batch;

/// One queue of batches, which is one connection's or, in a dry run, one server's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lane<'a> {
    pub(crate) turns: &'a ReorderQueue,
    pub(crate) ledger: &'a dyn Account,
    pub(crate) spares: &'a BufferPool<Batch>,
}
