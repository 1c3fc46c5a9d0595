//! Which panics are shown.

use std::panic;

/// Leaves out the one panic that memc-core makes an error of: the crate with the threads of r2d2's pools panics where a
/// thread does not start.
pub(crate) fn set_hook() {
    let show = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !info.location().is_some_and(|at| at.file().contains("/scheduled-thread-pool-")) {
            show(info);
        }
    }));
}
