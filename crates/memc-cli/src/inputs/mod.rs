//! The input files: which there are, whether they can be loaded, and what is done with each after it.

pub(crate) mod find;
pub(crate) mod lock;
pub(crate) mod log_file;
pub(crate) mod name;
pub(crate) mod own_outputs;
pub(crate) mod permissions;
pub(crate) mod quarantine;
pub(crate) mod version;
pub(crate) mod walk;
