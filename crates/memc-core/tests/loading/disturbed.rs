//! Four servers, one behind a proxy that disturbs its connections, and loads that must be complete all the same.

use std::collections::HashMap;
use std::error::Error as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use memc_core::apps::AppsEncoder;
use memc_core::{Address, Event, Input, Loader, Options, Protocol, RunReport, ServerReport};
use memc_testkit::{DEVICE_TYPES, Fault, Memcached, Model, Proxy, Sample};

use crate::{Result, Servers, assert_counts, input, small_chunks};

/// Which of the servers is behind the proxy.
pub(crate) const BEHIND: usize = 1;

/// For tests in which it must run out. A busy machine may well keep a sound server silent for so long.
pub(crate) const SHORT_TIMEOUT: Duration = Duration::from_millis(300);

/// Servers of which one is behind a proxy, for one load after the other.
pub(crate) struct Setup {
    pub(crate) servers: Servers,
    /// What the servers must hold after the loads so far.
    pub(crate) all: Model,
    pub(crate) loads: usize,
    pub(crate) timeout: Duration,
    /// Not found out, since a disturbance of that costs no retry.
    pub(crate) protocol: Protocol,
    /// To each server.
    pub(crate) connections: usize,
}

/// The outcome of one load.
pub(crate) struct Outcome {
    pub(crate) report: RunReport,
    /// The bytes that went through the proxy.
    pub(crate) sent: usize,
    pub(crate) answered: usize,
    pub(crate) connections: usize,
}

/// How many bytes go through the proxy in a load: sets are nearly all that is sent.
pub(crate) struct Bytes {
    pub(crate) sent: usize,
    pub(crate) answered: usize,
    /// In the middle of the answers to the sets.
    pub(crate) middle: usize,
}

/// How many bytes were answered in the middle of the answers to the sets: the last thing that is asked is `stats`.
pub(crate) fn middle(
    servers: &Servers,
    answered: usize,
    report: &ServerReport,
    protocol: Protocol,
) -> Result<usize> {
    let mut answer = BufReader::new(TcpStream::connect(servers.0[BEHIND].address())?);
    answer.get_mut().write_all(b"stats\r\n")?;
    let mut stats = String::new();
    while !stats.ends_with("END\r\n") {
        answer.read_line(&mut stats)?;
    }
    let answers = match protocol {
        Protocol::Meta => usize::try_from(report.batches)? * "MN\r\n".len(),
        Protocol::Classic => usize::try_from(report.records)? * "STORED\r\n".len(),
    };
    Ok(answered - stats.len() - answers / 2)
}

impl Outcome {
    pub(crate) fn retries(&self) -> u64 {
        self.report.servers[BEHIND].retries
    }
}

impl Setup {
    pub(crate) fn start() -> Result<Self> {
        Self::of(Protocol::Meta)
    }

    pub(crate) fn of(protocol: Protocol) -> Result<Self> {
        let servers = Servers::start(&[])?;
        let timeout = patient().io_timeout;
        Ok(Self { servers, all: Model::new(), loads: 0, timeout, protocol, connections: 1 })
    }

    /// A proxy with faults for the connections of one load.
    pub(crate) fn proxy<P>(&self, plan: P) -> Result<Proxy>
    where
        P: IntoIterator<Item = Fault, IntoIter: Send + 'static>,
    {
        Ok(Proxy::start(&self.servers.0[BEHIND].address(), plan)?)
    }

    pub(crate) fn loader(&self, proxy: &Proxy, options: Options) -> Result<Loader<AppsEncoder>> {
        loader(&self.servers, proxy, options)
    }

    /// Loads files with these faults at the first connections, which must leave no trace in the content.
    pub(crate) fn load(&mut self, faults: &[Fault]) -> Result<Outcome> {
        let files = Files::new(self.loads)?;
        self.loads += 1;
        files.texts.iter().for_each(|text| self.all.load(text));
        let proxy = self.proxy(faults.to_vec())?;
        let mut options = patient();
        options.io_timeout = self.timeout;
        options.protocol = Some(self.protocol);
        options.connections = u32::try_from(self.connections)?;
        let report = self.loader(&proxy, options)?.load(files.inputs(), |event| {
            if let Event::InputFinished(file) = event {
                files.check_stored(&self.servers, file.index)?;
            }
            Ok(())
        });
        let report = report.map_err(|stopped| format!("{faults:?}: {stopped}: {:?}", stopped.source()))?;
        files.check_stored(&self.servers, 2).map_err(|error| format!("{faults:?}: {error}"))?;
        assert_counts(&report.counts, &files.model);
        let stored: u64 = report.servers.iter().map(|server| server.records).sum();
        assert_eq!(stored, files.model.loaded, "each record is counted once");
        for (index, server) in report.servers.iter().enumerate() {
            let undisturbed = server.retries == 0 || self.timeout < patient().io_timeout;
            assert!(index == BEHIND || undisturbed, "{faults:?}: {} retries of {index}", server.retries);
        }
        let (sent, answered, connections) = (proxy.sent(), proxy.answered(), proxy.connections());
        Ok(Outcome { report, sent, answered, connections })
    }

    /// What goes through the proxy without faults.
    pub(crate) fn load_undisturbed(&mut self) -> Result<Bytes> {
        // The answer to `stats` has as many bytes as later only when it has been in use.
        let outcomes = [self.load(&[])?, self.load(&[])?, self.load(&[])?];
        for outcome in &outcomes {
            // Of several, one may be made when another is free again.
            let (retries, connections) = (outcome.retries(), outcome.connections);
            assert!(
                retries == 0 && (1..=self.connections).contains(&connections),
                "{retries}, {connections}"
            );
            let batches = outcome.report.servers[BEHIND].batches;
            assert!(self.connections > 1 || batches > 30, "{batches} batches, each answered by four bytes");
        }
        let Outcome { sent, answered, report, .. } = &outcomes[2];
        let middle = middle(&self.servers, *answered, &report.servers[BEHIND], self.protocol)?;
        Ok(Bytes { sent: *sent, answered: *answered, middle })
    }

    /// Each of these faults at the first connections costs a retry, and nothing else.
    pub(crate) fn assert_survives(&mut self, faults: &[Fault]) -> Result {
        let retries = self.load(faults)?.retries();
        assert!(retries >= faults.len() as u64, "{faults:?}: {retries} retries");
        Ok(())
    }

    /// The servers hold what all loads have left, and nothing else.
    pub(crate) fn finish(&self) -> Result {
        self.servers.assert_hold(&self.all)
    }
}

/// A loader that reaches one of the servers through the proxy.
pub(crate) fn loader(servers: &Servers, proxy: &Proxy, options: Options) -> Result<Loader<AppsEncoder>> {
    let mut addresses: Vec<_> = servers.0.iter().map(Memcached::address).collect();
    addresses[BEHIND] = proxy.address();
    let addresses = addresses.iter().map(|address| address.parse());
    let addresses = addresses.collect::<std::result::Result<Vec<Address>, _>>()?;
    Ok(Loader::new(AppsEncoder::new(DEVICE_TYPES), addresses, options))
}

/// Three small files with many duplicates, in each and across them.
pub(crate) struct Files {
    texts: Vec<Vec<u8>>,
    model: Model,
    /// For each key, what is stored under it: by which file, and the value, in order.
    history: HashMap<Vec<u8>, Vec<(usize, Vec<u8>)>>,
}

impl Files {
    /// Those of each number have keys of their own, and are alike otherwise.
    pub(crate) fn new(number: usize) -> Result<Self> {
        let mut sample = Sample::new(1).with(0.3, 0.02);
        let mut files = Self { texts: Vec::new(), model: Model::new(), history: HashMap::new() };
        for file in 0..3 {
            let text = String::from_utf8(sample.text(150))?;
            let own =
                |id: &str| if id.len() == 32 { format!("{number:04x}{}", &id[4..]) } else { id.to_owned() };
            let own = |line: &str| line.split('\t').map(own).collect::<Vec<_>>().join("\t");
            let text = text.split('\n').map(own).collect::<Vec<_>>().join("\n").into_bytes();
            files.model.load(&text);
            for line in text.split(|&byte| byte == b'\n') {
                let mut one = Model::new();
                one.load(line);
                for (key, value) in one.servers.into_values().flatten() {
                    files.history.entry(key).or_default().push((file, value));
                }
            }
            files.texts.push(text);
        }
        Ok(files)
    }

    pub(crate) fn inputs(&self) -> Vec<Input> {
        self.texts.iter().enumerate().map(|(at, text)| input(&at.to_string(), text.as_slice())).collect()
    }

    /// Fails unless each key of `file` and those before it has the last value of them, or that of a later
    /// line.
    pub(crate) fn check_stored(&self, servers: &Servers, file: usize) -> Result {
        let mut found = HashMap::new();
        for server in &servers.0 {
            found.extend(values(server, self.history.keys())?);
        }
        for (key, values) in &self.history {
            let Some(last) = values.iter().rposition(|(at, _)| *at <= file) else { continue };
            let stored = found.get(key);
            if !values[last..].iter().any(|(_, value)| Some(value) == stored) {
                let key = key.escape_ascii();
                return Err(format!("file {file} is reported as finished, but {key} holds {stored:?}").into());
            }
        }
        Ok(())
    }
}

/// What the server holds of these keys, in one round trip.
fn values<'a>(
    server: &Memcached,
    keys: impl Iterator<Item = &'a Vec<u8>>,
) -> Result<HashMap<Vec<u8>, Vec<u8>>> {
    let mut socket = BufReader::new(TcpStream::connect(server.address())?);
    let mut commands: Vec<u8> = keys.flat_map(|key| [b"mg ", &key[..], b" k v q\r\n"].concat()).collect();
    commands.extend_from_slice(b"mn\r\n");
    socket.get_mut().write_all(&commands)?;
    let mut found = HashMap::new();
    loop {
        let mut head = String::new();
        socket.read_line(&mut head)?;
        let words: Vec<_> = head.split_ascii_whitespace().collect();
        let ["VA", length, key] = words[..] else {
            return if head == "MN\r\n" { Ok(found) } else { Err(head.into()) };
        };
        let mut value = vec![0; length.parse::<usize>()? + 2];
        socket.read_exact(&mut value)?;
        value.truncate(value.len() - 2);
        found.insert(key[1..].into(), value);
    }
}

/// Several batches to each server are in flight, and no fault is given up.
pub(crate) fn patient() -> Options {
    let mut options = small_chunks(3000);
    options.retry_timeout = Duration::from_secs(20);
    options
}
