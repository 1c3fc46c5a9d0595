//! The options as the first line of the log has them.

use std::fmt;

use humantime::format_duration;

use crate::args::values::{LogFormat, ProtocolChoice};
use crate::args::{Args, routes};
use crate::inputs::name::shown;
use crate::inputs::source::Source;

impl fmt::Display for Args {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.source() {
            Source::Pattern(pattern) => write!(out, "pattern={pattern}")?,
            Source::Files(files) => write!(out, "files={}", files.len())?,
        }
        write!(out, " dry={}", self.dry)?;
        if self.follow {
            write!(out, " follow=true")?;
        }
        if let Some(folder) = self.on_broken.folder() {
            write!(out, " on-broken=quarantine={}", shown(folder))?;
        }
        if let Some(log) = &self.log {
            write!(out, " log={}", shown(log))?;
        }
        if self.log_format == LogFormat::Json {
            write!(out, " log-format=json")?;
        }
        for route in &self.routes {
            write!(out, " {}={}", route.device_type, route.group)?;
        }
        if let Some(distribution) = routes::distribution(&self.routes) {
            write!(out, " distribution={distribution}")?;
        }
        let outputs = [("rejects", &self.rejects), ("report", &self.report), ("metrics", &self.metrics)];
        for (name, path) in outputs {
            if let Some(path) = path {
                write!(out, " {name}={}", shown(path))?;
            }
        }
        if self.protocol != ProtocolChoice::Auto {
            write!(out, " protocol={}", self.protocol)?;
        }
        if let Some(ttl) = self.ttl {
            write!(out, " ttl={}", format_duration(ttl))?;
        }
        if let Some(address) = &self.listen {
            write!(out, " listen={address}")?;
        }
        if let Some(threads) = self.threads {
            write!(out, " threads={threads}")?;
        }
        if self.workers > 1 || self.hosts.is_some() {
            write!(out, " workers={}", self.workers)?;
        }
        if let Some(files_ahead) = self.files_ahead {
            write!(out, " files-ahead={files_ahead}")?;
        }
        if let (Some(hosts), Some(process)) = (&self.hosts, self.process) {
            write!(out, " hosts={} process={process}", shown(hosts))?;
        }
        let (timeout, retry_for) = (format_duration(self.timeout), format_duration(self.retry_for));
        write!(out, " connections={} timeout={timeout} retry-for={retry_for}", self.connections)?;
        write!(out, " max-error-rate={}", self.max_error_rate)
    }
}
