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

/// Does the part of a process that is not the first one, until that has done all.
pub(crate) fn help(job: &Job<'_>, mut cluster: Cluster) -> Result<()> {
    job.service.ready();
    let files: Arc<dyn Files> = Arc::new(Elsewhere::default());
    let (routes, retry_for) = (job.args.routes.clone(), job.args.retry_for);
    let served = cluster
        .serve(&job.loader, &files, move |event| messages::server_event(&routes, retry_for, &event))
        .map_err(stopped);
    if served.is_ok() {
        log::info!("The first process has done all");
    }
    end(cluster, &job.stop_handle(), &served);
    served
}

/// Leaves the cluster as this process ends, and says why if it ends early.
pub(crate) fn end(cluster: Cluster, stop: &StopHandle, result: &Result<()>) {
    let why = match result {
        Err(error) if !matches!(error.downcast_ref(), Some(Error::Cancelled)) => Some(format!("{error:#}")),
        // A follower that is asked to stop between two rounds has not failed.
        _ => stop.is_requested().then(|| "it was asked to".to_owned()),
    };
    cluster.end(why.as_deref());
}

/// A stop that was asked for is one of the load, too.
fn stopped(error: ClusterError) -> anyhow::Error {
    match error {
        ClusterError::Cancelled => Error::Cancelled.into(),
        ClusterError::Own { source } => anyhow::Error::from_boxed(source),
        error => error.into(),
    }
}
