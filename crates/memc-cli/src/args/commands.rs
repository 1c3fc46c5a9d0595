//! The commands beside a load, with their own options.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Subcommand;

use crate::args::values;

/// What to do instead of a load.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Operation {
    /// Check servers, folders and files; load nothing
    ///
    /// A line each: every server (its version, uptime, memory and evictions, and about how much of its memory the
    /// records of the last done file, or of the first one to come, would take if all their keys were new), every
    /// folder (whether it can be read, written to and locked), every file that a load would take, in its order.
    /// The exit code is 1 if anything would stop a load; the estimate does not count.
    Check {
        /// Check the files that match this pattern [default: that of a load]
        #[arg(long, value_parser = values::pattern)]
        pattern: Option<String>,
        /// Check these files instead
        #[arg(value_name = "FILE", conflicts_with = "pattern")]
        files: Vec<PathBuf>,
    },
    /// Show records as readers find them, decoded
    ///
    /// A key belongs to the server of the longest device type that it starts with, followed by a colon. A value
    /// that is no record of an apps log is shown with escapes. The exit code is 1 if a record is missing.
    Get {
        /// The keys, such as idfa:e7e1a50c0ec2747ca56cd9e1558c0d7c
        #[arg(value_name = "KEY", required = true)]
        keys: Vec<OsString>,
    },
    /// Show a running load in the terminal
    ///
    /// What the page of --listen shows, from its /status.json. Ends with q.
    Top {
        /// The page of --listen.
        #[arg(
            help = "Where it listens: host:port, the URL of the page, or unix:/path",
            value_name = "URL",
            default_value = "http://127.0.0.1:9119"
        )]
        url: String,
    },
    /// Read back every key of the files and compare
    ///
    /// The files may be done or not. Of a key that is there more than once, the last record in the order of the
    /// files counts. A record that has expired is missing. It takes up to 64 MiB of memory, and a temporary file in TMPDIR with about 50 bytes a record.
    /// The exit code is 3 if records differ or are missing, 1 if they could not be compared.
    Verify {
        /// The files
        #[arg(value_name = "FILE", required = true)]
        files: Vec<PathBuf>,
    },
}
