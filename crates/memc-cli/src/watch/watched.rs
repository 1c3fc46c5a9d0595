//! What those who watch are shown comes from here.

use std::sync::Arc;

use crate::args::Args;
use crate::output::log::Log;
use crate::output::service::Service;
use crate::watch::live::Live;

/// The process that is watched.
#[derive(Debug)]
pub(crate) struct Watched {
    pub(crate) args: Args,
    pub(crate) live: Arc<Live>,
    pub(crate) service: Service,
    pub(crate) log: Log,
}
