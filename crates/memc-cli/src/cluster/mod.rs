//! Several workers, or several processes: who they are, and the part of those that are not the first.

pub(crate) mod files;

use std::sync::Arc;

use anyhow::{Context, Result};
use memc_cluster::{Ahead, Cluster, ClusterError, Files, Hosts, Membership};
use memc_core::{Error, StopHandle};

use crate::args::{Args, VERSION, routes};
use crate::cluster::files::Elsewhere;
use crate::output::messages;
use crate::run::job::Job;

/// What a worker may have encoded and not finished: about a file of the usual size.
const BYTES_AHEAD: usize = 1 << 30;

/// The cluster that the arguments ask for; none if one process is to load file after file. With other processes it waits
/// for them.
pub(crate) fn start(args: &Args, stop: &StopHandle) -> Result<Option<Cluster>> {
    let workers = usize::from(args.workers);
    let ahead = |processes| {
        let files = args.files_ahead(processes);
        Ahead { files, bytes: BYTES_AHEAD }
    };
    let (Some(path), Some(process)) = (&args.hosts, args.process) else {
        return Ok((workers > 1).then(|| Cluster::alone(workers, ahead(1))));
    };
    let hosts = Hosts::read(path).context("option --hosts")?;
    let processes = hosts.len();
    let address = hosts.address(process).unwrap_or_default().to_owned();
    log::info!("Process {process} of {processes}, {address}: waiting for the others");
    let member = Membership {
        hosts,
        process,
        workers,
        secret: args.cluster_secret.clone().unwrap_or_default().into_bytes(),
        version: VERSION.to_owned(),
        options: shared_options(args, processes),
        timeout: args.timeout,
    };
    let cluster = Cluster::join(member, ahead(processes), stop).map_err(stopped)?;
    log::info!("All {processes} processes are there");
    Ok(Some(cluster))
}

/// The options that say what is stored where, and how the processes work together.
fn shared_options(args: &Args, processes: usize) -> Vec<(String, String)> {
    let routes: Vec<_> =
        args.routes.iter().map(|route| format!("{}={}", route.device_type, route.group)).collect();
    [
        ("--workers", args.workers.to_string()),
        ("--files-ahead", args.files_ahead(processes).to_string()),
        ("--dry", args.dry.to_string()),
        ("--follow", args.follow.to_string()),
        ("whether --rejects is given", args.rejects.is_some().to_string()),
        ("the servers", routes.join(" ")),
        ("--distribution", format!("{:?}", routes::distribution(&args.routes))),
        ("--ttl", format!("{:?}", args.ttl)),
        ("--connections", args.connections.to_string()),
        ("--timeout", format!("{:?}", args.timeout)),
        ("--retry-for", format!("{:?}", args.retry_for)),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Does the part of a process that is not the first one, until that has done all. Returns the first one's
/// exit code.
pub(crate) fn help(job: &Job<'_>, mut cluster: Cluster) -> Result<u8> {
    job.service.ready();
    let files: Arc<dyn Files> = Arc::new(Elsewhere::default());
    let (routes, retry_for) = (job.args.routes.clone(), job.args.retry_for);
    let served = cluster
        .serve(&job.loader, &files, move |event| messages::server_event(&routes, retry_for, &event))
        .map_err(stopped);
    match served {
        Ok(0) => log::info!("The first process has done all"),
        Ok(exit_code) => log::warn!(
            "The first process has done all, but not all is well: its log says what, exit code {exit_code}"
        ),
        Err(_) => {}
    }
    end(cluster, *served.as_ref().unwrap_or(&1), job.stop_handle().is_requested(), served.as_ref().err());
    served
}

/// Leaves the cluster as the first process ends with an exit code, or this one early: because it is asked to, or for an
/// error.
pub(crate) fn end(cluster: Cluster, exit_code: u8, is_asked: bool, error: Option<&anyhow::Error>) {
    let why = match error {
        Some(error) if !is_cancelled(error) => Some(format!("{error:#}")),
        // A follower that is asked to stop between two rounds has not failed.
        _ => is_asked.then(|| "it was asked to".to_owned()),
    };
    cluster.end(why.as_deref().map_or(Ok(exit_code), Err));
}

/// Whether a run has ended since it was asked to.
pub(crate) fn is_cancelled(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Error::Cancelled))
}

/// A stop that was asked for is one of the load, too.
fn stopped(error: ClusterError) -> anyhow::Error {
    match error {
        ClusterError::Cancelled => Error::Cancelled.into(),
        ClusterError::Own { source } => anyhow::Error::from_boxed(source),
        error => error.into(),
    }
}
