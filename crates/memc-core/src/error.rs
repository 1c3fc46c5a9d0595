//! What can stop a load.

use std::io;
use std::time::Duration;

/// What stopped a load before its end. Bad lines never do; they are counted.
///
/// The cause is the `source`, not part of the text: print the chain.
///
/// ```
/// use std::io;
///
/// use memc_core::apps::AppsEncoder;
/// use memc_core::{Address, Error, Input, Loader, Options};
///
/// let server: Address = "127.0.0.1:33013".parse()?;
/// let loader = Loader::new(AppsEncoder::new(["idfa"]), [server], Options::default());
/// let stopped = loader.dry_run([Input::path("/not/there.tsv.gz")], |_| (), |_| Ok(())).unwrap_err();
/// match stopped.error {
///     Error::Read { file, source } => {
///         assert_eq!((&file[..], source.kind()), ("/not/there.tsv.gz", io::ErrorKind::NotFound));
///     }
///     other => panic!("{other}"),
/// }
/// # Ok::<(), memc_core::AddressError>(())
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An input could not be opened, read or decompressed to its end.
    #[error("cannot read '{file}'")]
    Read {
        /// The input's name.
        file: String,
        /// The reason; of gzip that ends early, of kind [`UnexpectedEof`](io::ErrorKind::UnexpectedEof).
        source: io::Error,
    },
    /// A server did not take its records, all retries included.
    #[error("memcached server '{address}' could not be loaded, given up after {} retries in {:.1} s", retries, elapsed.as_secs_f64())]
    Server {
        /// The server's address.
        address: String,
        /// How many times it was tried again.
        retries: u64,
        /// From the first failure to the last.
        elapsed: Duration,
        /// What went wrong the last time.
        source: io::Error,
    },
    /// A server was restarted and has lost what it held, again and again: the input in progress was loaded again
    /// each time, and the load has given that up. An input that can be read only once is [`Error::Read`].
    #[error("memcached server '{address}' was restarted again and again, and lost what it held each time")]
    Restarted {
        /// The server's address.
        address: String,
    },
    /// The caller has asked for it with [`StopHandle`](crate::StopHandle).
    #[error("stopped on request")]
    Cancelled,
    /// An option, or the list of groups, is one that no load can work with. Nothing was read or sent.
    #[error("invalid option {option}: {problem}")]
    InvalidOptions {
        /// The field of [`Options`](crate::Options), or `groups`.
        option: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The encoder has returned the index of a group that does not exist.
    #[error("the encoder chose group {index} for a record, but there are only {groups}, counted from 0")]
    GroupIndex {
        /// The index that it returned.
        index: usize,
        /// How many groups the loader has.
        groups: usize,
    },
    /// A thread could not be started: there are too many, or there is no memory for its stack.
    #[error("cannot start the {thread} thread: allow more threads (ulimit -u) or memory (ulimit -v)")]
    Start {
        /// What the thread is for.
        thread: &'static str,
        /// The reason.
        source: io::Error,
    },
    /// The caller's own handling of an [`Event`](crate::Event) failed.
    #[error("the caller cannot go on with the load")]
    Caller {
        /// The error that the caller returned.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// A server address that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{text}' is not a server address: {problem} (give host:port, [v6]:port or unix:/path, with tls: or user:password@ in front)"
)]
pub struct AddressError {
    pub(crate) text: String,
    pub(crate) problem: &'static str,
}
