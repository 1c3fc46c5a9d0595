//! Shows how far a load is: by an event for each file, and by a handle that counts all that is stored.
//!
//! `cargo run --example progress -- 127.0.0.1:33013 20170929000000.tsv.gz 20170929000100.tsv.gz`

use std::error::Error;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use memc_core::apps::AppsEncoder;
use memc_core::{Address, Event, Input, Loader, Options};

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "an example shows what it does")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, files @ ..] = &arguments[..] else { return Err("usage: progress SERVER FILE...".into()) };
    let mut total_bytes = 0;
    for file in files {
        total_bytes += std::fs::metadata(file)?.len();
    }
    let loader =
        Loader::new(AppsEncoder::new(["idfa"]), vec![server.parse::<Address>()?], Options::default());
    let progress = loader.progress_handle();
    // It can be asked at any time, from any thread. When the sender is dropped, the load is over.
    let (loading, over) = mpsc::channel::<()>();
    let report = thread::scope(|scope| {
        let progress = progress.clone();
        scope.spawn(move || {
            while over.recv_timeout(Duration::from_millis(200)) == Err(RecvTimeoutError::Timeout) {
                eprintln!("{} of {total_bytes} bytes, {} records", progress.bytes_in(), progress.records());
            }
        });
        let inputs: Vec<_> = files.iter().map(Input::path).collect();
        let result = loader.load(inputs, |event| {
            match event {
                Event::InputStarted { name, .. } => println!("{name}"),
                Event::InputFinished(input) => println!("{}: {} records", input.name, input.counts.loaded),
                _ => {}
            }
            Ok(())
        });
        drop(loading);
        result
    })?;
    println!("{} records, {} of {total_bytes} bytes", report.counts.loaded, progress.bytes_in());
    Ok(())
}
