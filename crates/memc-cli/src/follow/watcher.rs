//! Rings when something may have appeared in a folder.

use std::path::Path;
use std::sync::mpsc::SyncSender;

use anyhow::{Context, Result};
use notify::event::{AccessKind, AccessMode, ModifyKind};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

use crate::inputs::name::shown;

/// Wakes the follower; rung twice before it wakes is as good as once.
pub(crate) type Bell = SyncSender<()>;

/// Watches folders, by inotify where there is such.
#[derive(Debug)]
pub(crate) struct Watcher {
    watcher: RecommendedWatcher,
    /// Whether a folder that cannot be watched was logged.
    has_complained: bool,
}

impl Watcher {
    pub(crate) fn start(bell: Bell) -> Result<Self> {
        let ring = move |event: notify::Result<Event>| {
            if event.map_or(true, |event| matters(&event)) {
                // A bell that is ringing needs no more.
                let _ = bell.try_send(());
            }
        };
        let watcher = notify::recommended_watcher(ring).context("cannot watch folders")?;
        Ok(Self { watcher, has_complained: false })
    }

    /// Watches this folder, also if it does so already: it may be another one of that name.
    pub(crate) fn watch(&mut self, folder: &Path) {
        if let Err(error) = self.watcher.watch(folder, RecursiveMode::NonRecursive)
            && !self.has_complained
        {
            self.has_complained = true;
            let folder = shown(folder);
            log::warn!("{folder}: cannot be watched, so looked at every 30 s: {error}");
        }
    }
}

/// Whether a name has come or gone, or a file may be complete. Every single write would be too much.
fn matters(event: &Event) -> bool {
    event.need_rescan()
        || matches!(
            event.kind,
            EventKind::Any
                | EventKind::Create(_)
                | EventKind::Remove(_)
                | EventKind::Modify(ModifyKind::Any | ModifyKind::Name(_))
                | EventKind::Access(AccessKind::Close(AccessMode::Write))
        )
}
