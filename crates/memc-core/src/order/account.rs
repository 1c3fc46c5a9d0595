//! What the threads of a load report to: the ledger, or whoever carries reports to the process that keeps it.

use std::fmt::Debug;

use crate::order::tally::Tally;
use crate::{Error, Event};

/// Takes the reports of the lanes. It also knows whether the load goes on, and any of its threads may end it.
pub trait Account: Debug + Sync {
    /// A lane has finished chunk `number`: every record of it was acknowledged or refused.
    fn report(&self, number: u64, tally: Tally);

    /// Ends the load at once, for the first reason that is given: nothing more is read or sent.
    fn abort(&self, error: Error);

    /// Whether the load has been ended.
    fn is_aborted(&self) -> bool;

    /// Emits an event that is of no input.
    fn emit(&self, event: Event);
}
