//! What processes say to each other beside the dataflow.

use std::time::SystemTime;

use memc_core::{Event, ServerProgress, ServerReport};
use serde::{Deserialize, Serialize};

use crate::error::PeerError;
use crate::fault::Fault;

/// A message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Message {
    /// From the first process: an attempt begins.
    Begin(Begin),
    /// The attempt cannot go on: to the first process, for this reason, or from it, since it knows one.
    Abort { attempt: u32, fault: Option<Fault> },
    /// To the first process: the attempt has ended here, with these reports on servers.
    Ended { attempt: u32, servers: Vec<ServerReport> },
    /// To the first process: an event that is of a server.
    Event(Event),
    /// To the first process, about once a second: how the servers are doing that the sender writes to.
    Progress(Vec<ServerProgress>),
    /// The sender ends, since this process is at fault.
    Failed(PeerError),
    /// From the first process: all is done, and it ends with this exit code.
    Done { exit_code: u8 },
}

/// What there is to do in an attempt.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Begin {
    /// Its number, from 1.
    pub(crate) attempt: u32,
    pub(crate) is_dry: bool,
    /// When the load started, from where times of expiry count.
    pub(crate) started: SystemTime,
    /// The paths of the files, as the system has them.
    pub(crate) paths: Vec<Vec<u8>>,
    /// The number of the first of them in the load.
    pub(crate) first_file: usize,
}

impl Message {
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        // Numbers, texts and lists of them always become JSON.
        serde_json::to_vec(self).unwrap_or_default()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}
