//! What `scripts/instructions` runs and counts: dry runs of the same sample lines, as many as its argument says, with
//! one worker.
//!
//! A record goes the whole way to its connection: cut, parse, serialize, key check, batch, turn. Then the
//! dry run reads it back out of its batch, which a load does not do. Nothing is inflated and nothing is
//! sent.

use memc_core::apps::AppsEncoder;
use memc_core::{Address, Input, Loader, Options};
use memc_testkit::{DEVICE_TYPES, Sample};

/// Some 3 MB, that is three chunks.
const LINES: usize = 10_000;

#[expect(clippy::print_stdout, reason = "a program for a script")]
fn main() {
    let rounds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(1);
    let text: &[u8] = Sample::new(1).text(LINES).leak();
    let servers = DEVICE_TYPES.map(|_| "127.0.0.1:33013".parse::<Address>().expect("an address"));
    let mut options = Options::default();
    options.threads = 1;
    let loader = Loader::new(AppsEncoder::new(DEVICE_TYPES), servers, options);
    let inputs = (0..rounds).map(|_| Input::bytes("sample", text));
    let report = loader.dry_run(inputs, |_| (), |_| Ok(())).expect("a dry run");
    assert_eq!(report.counts.loaded, rounds * LINES as u64);
    println!("{} records", report.counts.loaded);
}
