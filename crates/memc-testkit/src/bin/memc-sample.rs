//! Writes sample minute files: `memc-sample FOLDER FILES RECORDS`.
//!
//! The files are FOLDER/20170929000000.tsv.gz and so on, a minute apart, each of RECORDS sound lines.

use std::path::Path;
use std::process::ExitCode;

use memc_testkit::{Sample, gzip};

#[expect(clippy::print_stderr, reason = "a program for scripts")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, files, records] = &arguments[..] else {
        eprintln!("usage: memc-sample FOLDER FILES RECORDS");
        return ExitCode::from(2);
    };
    match (files.parse(), records.parse()) {
        (Ok(files), Ok(records)) => match write(Path::new(folder), files, records) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("memc-sample: {folder}: {error}");
                ExitCode::FAILURE
            }
        },
        _ => {
            eprintln!("memc-sample: FILES and RECORDS must be numbers");
            ExitCode::from(2)
        }
    }
}

fn write(folder: &Path, files: u32, records: usize) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for minute in 0..files {
        let name = format!("20170929{:02}{:02}00.tsv.gz", minute / 60 % 24, minute % 60);
        let text = Sample::new(u64::from(minute)).text(records);
        std::fs::write(folder.join(name), gzip(&text)?)?;
    }
    Ok(())
}
