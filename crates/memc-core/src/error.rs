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
/// use memc_core::{Error, Input, Loader, Options};
///
/// let loader = Loader::new(AppsEncoder::new(["idfa"]), Vec::new(), Options::default());
/// let stopped = loader.dry_run([Input::path("/not/there.tsv.gz")], |_| (), |_| Ok(())).unwrap_err();
/// match stopped.error {
///     Error::Read { file, source } => {
///         assert_eq!((&file[..], source.kind()), ("/not/there.tsv.gz", io::ErrorKind::NotFound));
///     }
///     other => panic!("{other}"),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An input could not be opened, read or inflated to its end.
    #[error("cannot read '{file}'")]
    Read {
        /// The input's name.
        file: String,
        /// The reason; of gzip that ends early, of kind [`UnexpectedEof`](io::ErrorKind::UnexpectedEof).
        source: io::Error,
    },
    /// A server could not be made to take its records, all retries included.
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
    /// A server was restarted and has lost what it held, again and again: the file in work was begun anew
    /// each time, and the load has given that up. An input that cannot be begun anew is [`Error::Read`].
    #[error("memcached server '{address}' was restarted again and again, and lost what it held each time")]
    Restarted {
        /// The server's address.
        address: String,
    },
    /// The caller has asked for it with [`StopHandle`](crate::StopHandle).
    #[error("stopped on request")]
    Cancelled,
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
