//! Runs that are killed, again and again at random moments: nothing is lost, and the next run goes on.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::ExitStatusExt;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use memc_testkit::{DEVICE_TYPES, Sample, gzip};

use crate::workdir::{Workdir, model};

/// How many processes are killed while they run.
const KILLS: usize = 15;

pub(crate) const FILES: [&str; 6] = ["1.tsv.gz", "2.tsv.gz", "3.tsv.gz", "4.tsv.gz", "5.tsv.gz", "6.tsv.gz"];

/// Two and a half MB of text, more than the 2 MiB of a chunk.
const LINES: usize = 8000;

/// Keys that are asked for at once: few enough for the sockets to hold the answers.
const KEYS_AT_ONCE: usize = 200;

/// The set of files, and every value that their lines give to a key.
pub(crate) struct Set {
    pub(crate) texts: Vec<Vec<u8>>,
    compressed: Vec<Vec<u8>>,
    /// By device type.
    given: HashMap<&'static str, Given>,
}

/// By key: the numbers of the files and the values, in the order of the lines.
type Given = HashMap<Vec<u8>, Vec<(usize, Vec<u8>)>>;

impl Set {
    /// Files with this number of lines each.
    pub(crate) fn new(lines: usize) -> Result<Self> {
        let mut sample = Sample::new(1).with(0.3, 0.0);
        let texts: Vec<_> = FILES.iter().map(|_| sample.text(lines)).collect();
        let compressed = texts.iter().map(|text| Ok(gzip(text)?)).collect::<Result<_>>()?;
        let mut given: HashMap<_, Given> = HashMap::new();
        for (file, text) in texts.iter().enumerate() {
            for line in text.split(|&byte| byte == b'\n') {
                for (device_type, records) in model(&[line]).servers {
                    for (key, value) in records {
                        given.entry(device_type).or_default().entry(key).or_default().push((file, value));
                    }
                }
            }
        }
        Ok(Self { texts, compressed, given })
    }

    /// A fresh folder with the files, and fresh servers.
    pub(crate) fn workdir(&self) -> Result<Workdir> {
        let work = Workdir::new()?;
        for (name, compressed) in FILES.iter().zip(&self.compressed) {
            work.write(name, compressed)?;
        }
        work.servers()?;
        Ok(work)
    }

    /// How many files are done: the first ones, or this fails.
    pub(crate) fn done(work: &Workdir) -> Result<usize> {
        let files = work.files()?;
        let done = files.iter().filter(|name| name.starts_with('.')).count();
        let mut expected: Vec<_> = FILES[..done].iter().map(|name| format!(".{name}")).collect();
        expected.extend(FILES[done..].iter().map(|&name| name.to_owned()));
        ensure!(files == expected, "the files are {files:?}");
        Ok(done)
    }

    /// Checks that the first `done` files are stored: each key has the last value that they give it, or one
    /// that a line of a later file does.
    pub(crate) fn stored(&self, work: &Workdir, done: usize) -> Result<()> {
        for (device_type, server) in DEVICE_TYPES.iter().zip(work.servers()?) {
            let due: Vec<_> =
                self.given[device_type].iter().filter(|(_, values)| values[0].0 < done).collect();
            let keys: Vec<_> = due.iter().map(|(key, _)| key.as_slice()).collect();
            for ((key, values), found) in due.iter().zip(values(&server.address(), &keys)?) {
                let first_later = values.partition_point(|(file, _)| *file < done);
                let found = found.with_context(|| format!("{} is lost", key.escape_ascii()))?;
                let sound = values[first_later - 1..].iter().any(|(_, value)| *value == found);
                ensure!(sound, "{} has a value of before", key.escape_ascii());
            }
        }
        Ok(())
    }
}

/// The values under these keys.
fn values(address: &str, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
    let mut socket = TcpStream::connect(address)?;
    let mut answers = BufReader::new(socket.try_clone()?);
    let mut values = Vec::with_capacity(keys.len());
    for keys in keys.chunks(KEYS_AT_ONCE) {
        let commands: Vec<_> = keys.iter().map(|key| [b"mg ", *key, b" v\r\n"].concat()).collect();
        socket.write_all(&commands.concat())?;
        for _ in keys {
            let mut head = String::new();
            answers.read_line(&mut head)?;
            let Some(length) = head.trim_end().strip_prefix("VA ") else {
                ensure!(head == "EN\r\n", "the server answers '{head}'");
                values.push(None);
                continue;
            };
            let mut value = vec![0; length.parse::<usize>()? + 2];
            answers.read_exact(&mut value)?;
            value.truncate(value.len() - 2);
            values.push(Some(value));
        }
    }
    Ok(values)
}

/// Numbers from 0 to 1, the same in every run of the test: the generator of Knuth's MMIX.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        f64::from(u32::try_from(self.0 >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }
}

#[test]
fn runs_killed_at_random_moments_lose_nothing() -> Result<()> {
    let set = Set::new(LINES)?;
    let expected = model(&set.texts);
    let work = set.workdir()?;
    let started = Instant::now();
    work.load(&[])?.exits(0)?;
    let whole_run = started.elapsed();
    work.holds(&expected)?;

    let mut random = Random(1);
    let (mut kills, mut within_a_load) = (0, 0);
    let wanted = std::env::var("MEMC_TEST_KILLS").map_or(Ok(KILLS), |kills| kills.parse())?;
    while kills < wanted {
        let work = set.workdir()?;
        loop {
            let mut running = work.start(&[])?;
            running.kill_after(whole_run.mul_f64(1.2 * random.next()))?;
            let run = work.finish(running)?;
            let done = Set::done(&work)?;
            set.stored(&work, done).with_context(|| format!("after {done} files\n{run}"))?;
            if run.status().signal().is_none() {
                run.exits(0)?;
                ensure!(done == FILES.len(), "{run}");
                break;
            }
            kills += 1;
            within_a_load += usize::from(run.stderr.contains("Processing "));
        }
        // The values are checked already; so nothing but them is there.
        for (device_type, server) in DEVICE_TYPES.iter().zip(work.servers()?) {
            ensure!(server.stat("curr_items")? == expected.servers[device_type].len() as u64);
        }
    }
    ensure!(within_a_load > wanted / 4, "only {within_a_load} of {kills} kills came while files were loaded");
    Ok(())
}
