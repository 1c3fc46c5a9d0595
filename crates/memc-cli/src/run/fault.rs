//! Why a load stopped at a log, as far as that is a matter of the log.

use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::anyhow;
use memc_core::Error;

use crate::inputs::log_file::Changed;
use crate::inputs::name::shown;

/// What a stop at a log means for the files.
const KEEP_NAMES: &str = "it and all later files keep their names";

/// What is wrong with the log that a load stopped at.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It was not, or no longer, what was read when its turn came to be marked as done.
    Changed,
    /// It is not there, in the system's words.
    Missing(String),
    /// It is empty or ends early, so it may still be written.
    Incomplete(String),
    /// It is not what a log has to be, and no writing on will make it so.
    Broken(String),
}

impl Fault {
    /// What `error` says of the log; nothing, if it is about something else.
    pub(crate) fn of(error: &Error) -> Option<Self> {
        match error {
            Error::Caller { source } if source.is::<Changed>() => Some(Self::Changed),
            Error::Read { source, .. } => Self::of_reading(source),
            _ => None,
        }
    }

    /// The error of a run that stops at the log for this reason, which memc-core has reported as `error`.
    pub(crate) fn explain(&self, log: &Path, error: Error) -> anyhow::Error {
        let log = shown(log);
        match self {
            Self::Changed => anyhow!("'{log}' has changed each time it was loaded: {KEEP_NAMES}"),
            Self::Incomplete(why) => anyhow!("cannot read '{log}': not complete: {why}; {KEEP_NAMES}"),
            Self::Missing(_) | Self::Broken(_) => error.into(),
        }
    }

    fn of_reading(error: &io::Error) -> Option<Self> {
        // What the system has to say is about the disk or the path, not about the content.
        let is_of_content = error.raw_os_error().is_none();
        match error.kind() {
            ErrorKind::NotFound => Some(Self::Missing(error.to_string())),
            // One without a text of its own comes from the decoder.
            ErrorKind::UnexpectedEof if error.get_ref().is_none() => {
                Some(Self::Incomplete("it ends inside a gzip member".to_owned()))
            }
            ErrorKind::UnexpectedEof => Some(Self::Incomplete(error.to_string())),
            ErrorKind::InvalidData | ErrorKind::InvalidInput if is_of_content => {
                Some(Self::Broken(error.to_string()))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_of_the_system_is_none_of_the_log() {
        let of = |source| Fault::of(&Error::Read { file: "1.gz".to_owned(), source });
        assert!(of(io::Error::from_raw_os_error(22)).is_none(), "EINVAL");
        assert!(of(io::Error::from_raw_os_error(5)).is_none(), "EIO");
        assert!(matches!(of(io::Error::from_raw_os_error(2)), Some(Fault::Missing(_))), "ENOENT");
        assert!(matches!(of(ErrorKind::InvalidInput.into()), Some(Fault::Broken(_))));
        assert!(
            matches!(of(io::Error::new(ErrorKind::UnexpectedEof, "why")), Some(Fault::Incomplete(why)) if why == "why")
        );
        assert!(Fault::of(&Error::Cancelled).is_none());
    }
}
