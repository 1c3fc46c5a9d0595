//! Whether logs can be renamed when they are done, found out before they are loaded.

use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{Access, access};
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities};

use crate::inputs::find;
use crate::inputs::name::shown;

/// The mode's bit for a folder in which everybody may rename only files of their own.
const STICKY: u32 = 0o1000;

/// Checks whether each of these logs can be renamed in its folder.
pub(crate) fn check(logs: &[PathBuf]) -> Result<()> {
    let mut checked = HashSet::new();
    for log in logs {
        let folder = find::folder(log);
        if checked.insert(folder) {
            may_write(folder).with_context(|| {
                format!(
                    "'{}' could not get its dot: files in '{}' cannot be renamed",
                    shown(log),
                    shown(folder)
                )
            })?;
        }
        may_replace(log).with_context(|| format!("'{}' could not get its dot", shown(log)))?;
    }
    Ok(())
}

/// Whether names can be made, changed and removed in this folder.
pub(crate) fn may_write(folder: &Path) -> io::Result<()> {
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

/// Whether a file in a folder that may be written to can be renamed, or replaced by another one.
pub(crate) fn may_replace(path: &Path) -> io::Result<()> {
    // A file that is not there is in nobody's way.
    let Ok(file) = path.symlink_metadata() else { return Ok(()) };
    let folder = fs::metadata(find::folder(path))?;
    let is_ours = |it: &Metadata| it.uid() == geteuid().as_raw();
    match folder.mode() & STICKY == 0 || is_ours(&file) || is_ours(&folder) || owns_all() {
        true => Ok(()),
        false => Err(io::Error::other("only its owner may rename it, in a folder with the sticky bit")),
    }
}

/// Whether this process may do what owners may.
fn owns_all() -> bool {
    capabilities(None)
        .map_or_else(|_| geteuid().is_root(), |sets| sets.effective.contains(CapabilitySet::FOWNER))
}
