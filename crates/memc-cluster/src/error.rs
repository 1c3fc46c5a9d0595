//! What keeps processes from working together.

use std::io;

use serde::{Deserialize, Serialize};

/// Why a process cannot work with the others, or no longer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClusterError {
    /// The hosts file cannot be read.
    #[error("cannot read the hosts file '{path}'")]
    HostsFile {
        /// Its path.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// The hosts file has something wrong in it.
    #[error("hosts file '{path}': {problem}")]
    Hosts {
        /// Its path.
        path: String,
        /// What is wrong, with the number of the line.
        problem: String,
    },
    /// The number of this process is none of the hosts file.
    #[error("there is no process {process}: the hosts file has {hosts} addresses, so the last process is {}", hosts - 1)]
    Process {
        /// The number.
        process: usize,
        /// How many there are.
        hosts: usize,
    },
    /// Another process is not there, is another one than it should be, or has stopped.
    #[error(transparent)]
    Peer(#[from] PeerError),
    /// The address of this process cannot be listened on.
    #[error("process {process}: cannot listen on '{address}', its address in the hosts file")]
    Listen {
        /// This process.
        process: usize,
        /// Its address.
        address: String,
        /// The reason.
        source: io::Error,
    },
    /// A thread could not be started, or the system refuses what a socket needs.
    #[error("cannot work with other processes")]
    System {
        /// The reason.
        source: io::Error,
    },
    /// The loader's own options are invalid.
    #[error(transparent)]
    Load {
        /// The reason.
        source: memc_core::Error,
    },
    /// This process itself cannot go on.
    #[error("this process cannot go on")]
    Own {
        /// The reason.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A stop was asked for.
    #[error("stopped on request")]
    Cancelled,
}

/// The process at fault, and what it has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("process {process} ({address}): {problem}")]
#[non_exhaustive]
pub struct PeerError {
    /// Its number.
    pub process: usize,
    /// Its address in the hosts file.
    pub address: String,
    /// What is wrong.
    pub problem: String,
}
