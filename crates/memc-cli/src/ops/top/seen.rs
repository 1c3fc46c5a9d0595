//! What is known of the process that is watched.

use std::time::Instant;

use anyhow::Result;

use crate::watch::status::Status;

/// What is known of the process that is watched.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) source: String,
    /// The last status that came.
    pub(super) status: Option<Status>,
    /// When there was contact for the last time, or the first try.
    pub(super) contact: Instant,
    /// Why there is none any more.
    pub(super) error: Option<String>,
}

impl Seen {
    /// Nothing yet.
    pub(super) fn new(source: String) -> Self {
        Self { source, status: None, contact: Instant::now(), error: None }
    }

    /// Takes an answer, or why there is none.
    pub(super) fn take(&mut self, answer: Result<Status>) {
        match answer {
            Ok(status) => {
                (self.status, self.contact, self.error) = (Some(status), Instant::now(), None);
            }
            Err(error) => self.error = Some(format!("{error:#}")),
        }
    }
}
