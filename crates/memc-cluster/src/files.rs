//! What a cluster has to be given to read the files of a load.

use std::path::Path;

use memc_core::Input;

/// The files of a load, as one process sees them. The number of a file is its place in the load, from 0.
pub trait Files: Send + Sync {
    /// The name of a file in reports and events. Asked in the first process.
    fn name(&self, file: usize) -> String;

    /// The input for a file that this process reads, at this path.
    fn input(&self, file: usize, path: &Path) -> Input;

    /// What the first process has to know of a file that this process reads and has opened.
    fn mark(&self, file: usize) -> Option<String>;

    /// Takes a mark, in the first process, before the file is reported as finished.
    fn marked(&self, file: usize, mark: &str);
}
