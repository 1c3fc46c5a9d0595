//! Another loader: user profiles, `ID,NAME,MAIL` a line, to one server under `user:ID`.
//!
//! `cargo run --example profiles -- 127.0.0.1:11211 profiles.csv`

use std::error::Error;

use memc_core::{Address, Encode, Input, Loader, Options, Record, RejectReason};

/// The profile without its id is the value, as it stands in the file.
#[derive(Clone)]
struct Profiles;

impl Encode for Profiles {
    fn encode(&mut self, line: &[u8], record: &mut Record) -> Result<Option<usize>, RejectReason> {
        let line = line.trim_ascii();
        if line.is_empty() {
            return Ok(None);
        }
        let comma = line.iter().position(|&byte| byte == b',').ok_or(RejectReason::FieldCount)?;
        let (id, profile) = (&line[..comma], &line[comma + 1..]);
        if id.is_empty() || !id.iter().all(u8::is_ascii_digit) {
            return Err(RejectReason::Other("id".into()));
        }
        record.key.extend_from_slice(b"user:");
        record.key.extend_from_slice(id);
        record.value.extend_from_slice(profile);
        Ok(Some(0))
    }
}

#[expect(clippy::print_stdout, reason = "an example shows what it did")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, files @ ..] = &arguments[..] else { return Err("usage: profiles SERVER FILE...".into()) };
    let loader = Loader::new(Profiles, vec![server.parse::<Address>()?], Options::default());
    let report = loader.load(files.iter().map(Input::path).collect::<Vec<_>>(), |_| Ok(()))?;
    println!("{} profiles loaded, {} rejected", report.counts.loaded, report.counts.rejected_total());
    Ok(())
}
