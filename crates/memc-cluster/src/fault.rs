//! An error as it crosses to another process: what the first one has to know of it to act as if it were its own.

use std::io::{self, ErrorKind};
use std::time::Duration;

use memc_core::Error;
use serde::{Deserialize, Serialize};

/// An error of a load.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Fault {
    Read { file: String, source: Cause },
    Server { address: String, retries: u64, elapsed: Duration, source: Cause },
    Restarted { address: String },
    Cancelled,
    Other(String),
}

/// The error below it.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Cause {
    kind: String,
    /// The system's number.
    os: Option<i32>,
    /// `None` where the kind says it all.
    text: Option<String>,
}

/// The kinds that callers tell apart.
const KINDS: [ErrorKind; 8] = [
    ErrorKind::NotFound,
    ErrorKind::PermissionDenied,
    ErrorKind::ConnectionRefused,
    ErrorKind::TimedOut,
    ErrorKind::UnexpectedEof,
    ErrorKind::InvalidData,
    ErrorKind::InvalidInput,
    ErrorKind::Unsupported,
];

impl From<&io::Error> for Cause {
    fn from(error: &io::Error) -> Self {
        Self {
            kind: format!("{:?}", error.kind()),
            os: error.raw_os_error(),
            text: error.get_ref().map(ToString::to_string),
        }
    }
}

impl From<Cause> for io::Error {
    fn from(cause: Cause) -> Self {
        let kind = KINDS.into_iter().find(|kind| format!("{kind:?}") == cause.kind);
        match (cause.os, cause.text) {
            (Some(number), _) => Self::from_raw_os_error(number),
            (None, Some(text)) => Self::new(kind.unwrap_or(ErrorKind::Other), text),
            (None, None) => kind.map_or_else(|| Self::other(cause.kind), Self::from),
        }
    }
}

impl From<&Error> for Fault {
    fn from(error: &Error) -> Self {
        match error {
            Error::Read { file, source } => Self::Read { file: file.clone(), source: source.into() },
            Error::Server { address, retries, elapsed, source } => Self::Server {
                address: address.clone(),
                retries: *retries,
                elapsed: *elapsed,
                source: source.into(),
            },
            Error::Restarted { address } => Self::Restarted { address: address.clone() },
            Error::Cancelled => Self::Cancelled,
            error => Self::Other(chain(error)),
        }
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Read { file, source } => Self::Read { file, source: source.into() },
            Fault::Server { address, retries, elapsed, source } => {
                Self::Server { address, retries, elapsed, source: source.into() }
            }
            Fault::Restarted { address } => Self::Restarted { address },
            Fault::Cancelled => Self::Cancelled,
            Fault::Other(text) => Self::Caller { source: text.into() },
        }
    }
}

/// An error with all that caused it, on one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_crosses_is_the_same() -> Result<(), serde_json::Error> {
        for source in [
            ErrorKind::UnexpectedEof.into(),
            io::Error::new(ErrorKind::InvalidData, "not gzip"),
            io::Error::from_raw_os_error(2),
            io::Error::new(ErrorKind::BrokenPipe, "broken"),
        ] {
            let (kind, text, has_text) = (source.kind(), source.to_string(), source.get_ref().is_some());
            let fault = Fault::from(&Error::Read { file: "1.gz".to_owned(), source });
            let fault: Fault = serde_json::from_str(&serde_json::to_string(&fault)?)?;
            let Error::Read { file, source } = Error::from(fault) else { panic!("another error") };
            let kind = if KINDS.contains(&kind) { kind } else { ErrorKind::Other };
            assert_eq!((&file[..], source.kind(), source.to_string()), ("1.gz", kind, text));
            assert_eq!(source.get_ref().is_some(), has_text);
        }
        Ok(())
    }
}
