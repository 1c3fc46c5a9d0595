//! Loads what comes over a connection, as it comes, as it could from anything else that is
//! [`Read`](std::io::Read): records of the apps log, all of type idfa, gzip or plain text, to one server.
//!
//! `cargo run --example socket -- 127.0.0.1:33013 127.0.0.1:9000`, with the lines given at port 9000 by
//! `nc -N -l 9000 <log.tsv.gz` or the like.

use std::error::Error;
use std::net::TcpStream;
use std::time::Duration;

use memc_core::apps::AppsEncoder;
use memc_core::{Address, Input, Loader, Options};

#[expect(clippy::print_stdout, reason = "an example shows what it did")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, source] = &arguments[..] else { return Err("usage: socket SERVER SOURCE".into()) };
    let lines = TcpStream::connect(source)?;
    // A source that falls silent ends the load with an error; without this it would be waited for until a stop.
    lines.set_read_timeout(Some(Duration::from_secs(60)))?;
    // It can be read only once, so if the server is restarted meanwhile, the load ends with an error too.
    let input = Input::reader(source, lines);
    let mut options = Options::default();
    // Lines are stored as they come, at the latest after this time.
    options.linger = Duration::from_millis(20);
    let loader = Loader::new(AppsEncoder::new(["idfa"]), vec![server.parse::<Address>()?], options);
    let report = loader.load([input], |_| Ok(()))?;
    println!("{} records loaded, {} rejected", report.counts.loaded, report.counts.rejected_total());
    Ok(())
}
