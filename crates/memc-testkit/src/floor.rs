//! The floor under a load: what a file costs on this machine when the loader itself costs nothing.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use libdeflater::Decompressor;

use crate::DEVICE_TYPES;
use crate::model::records;

/// How long a server may take to take or send a byte.
const PATIENCE: Duration = Duration::from_secs(20);

/// A log and the commands that store its records, all ready in memory.
///
/// A loader has to inflate the log and to have the servers store its records. Here each of the two is done
/// in the cheapest way known, alone or both at once: one thread inflates with libdeflate, and one connection
/// to each server takes ready-made quiet meta sets, closed by one `mn`. Nothing is parsed, serialized or
/// put in order meanwhile, so what [`both`](Self::both) takes is the yardstick for a loader.
#[derive(Debug)]
pub struct Floor {
    compressed: Vec<u8>,
    plain: Vec<u8>,
    /// For each server, in the order of the device types.
    commands: [Vec<u8>; 4],
    records: u64,
}

impl Floor {
    /// Makes everything ready for a log, by the rules of the [`Model`](crate::Model).
    ///
    /// # Errors
    ///
    /// If the log is not a single gzip member of less than 4 GiB of text.
    pub fn new(compressed: Vec<u8>) -> io::Result<Self> {
        // The last four bytes of a member are the length of its text.
        let length = compressed.last_chunk().map_or(0, |&length| u32::from_le_bytes(length));
        let plain = vec![0; usize::try_from(length).map_err(io::Error::other)?];
        let mut floor = Self { compressed, plain, commands: Default::default(), records: 0 };
        floor.inflate()?;
        for (device_type, key, value, _) in records(&floor.plain).flatten() {
            let server = DEVICE_TYPES.iter().position(|&name| name == device_type);
            let commands = &mut floor.commands[server.ok_or(io::ErrorKind::InvalidData)?];
            let length = value.len().to_string();
            for part in [b"ms ", &key[..], b" ", length.as_bytes(), b" q\r\n", &value, b"\r\n"] {
                commands.extend_from_slice(part);
            }
            floor.records += 1;
        }
        for commands in &mut floor.commands {
            commands.extend_from_slice(b"mn\r\n");
        }
        Ok(floor)
    }

    /// The number of records that are sent.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Inflates the log.
    ///
    /// # Errors
    ///
    /// If it is not a single gzip member.
    pub fn inflate(&mut self) -> io::Result<()> {
        inflate(&self.compressed, &mut self.plain)
    }

    /// Has the servers at these addresses, one for each device type, store the records.
    ///
    /// # Errors
    ///
    /// If a connection fails, or a server refuses a record.
    pub fn send(&self, servers: &[String; 4]) -> io::Result<()> {
        send(&self.commands, servers)
    }

    /// Inflates and sends at once.
    ///
    /// # Errors
    ///
    /// Those of [`inflate`](Self::inflate) and [`send`](Self::send).
    pub fn both(&mut self, servers: &[String; 4]) -> io::Result<()> {
        thread::scope(|scope| {
            let inflating = scope.spawn(|| inflate(&self.compressed, &mut self.plain));
            let sent = send(&self.commands, servers);
            join(inflating).and(sent)
        })
    }
}

fn inflate(compressed: &[u8], plain: &mut [u8]) -> io::Result<()> {
    let length = Decompressor::new().gzip_decompress(compressed, plain).map_err(io::Error::other)?;
    if length == plain.len() { Ok(()) } else { Err(io::ErrorKind::InvalidData.into()) }
}

fn send(commands: &[Vec<u8>; 4], servers: &[String; 4]) -> io::Result<()> {
    thread::scope(|scope| {
        let pairs = commands.iter().zip(servers);
        let sending: Vec<_> =
            pairs.map(|(commands, server)| scope.spawn(|| send_to(server, commands))).collect();
        sending.into_iter().try_for_each(join)
    })
}

fn send_to(server: &str, commands: &[u8]) -> io::Result<()> {
    let mut socket = TcpStream::connect(server)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // A server that nobody listens to stops reading: one that refuses very many records.
    socket.set_write_timeout(Some(PATIENCE))?;
    socket.write_all(commands)?;
    let mut answer = [0; 4];
    socket.read_exact(&mut answer)?;
    // Quiet sets are answered only when they are refused.
    if answer == *b"MN\r\n" { Ok(()) } else { Err(io::Error::other(format!("{server} refuses a record"))) }
}

fn join(thread: ScopedJoinHandle<'_, io::Result<()>>) -> io::Result<()> {
    thread.join().unwrap_or_else(|_| Err(io::Error::other("a thread of the floor panicked")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Memcached, Model, Sample, gzip};

    fn servers(options: &[&str]) -> io::Result<[Memcached; 4]> {
        let start = || Memcached::start(options);
        Ok([start()?, start()?, start()?, start()?])
    }

    #[test]
    fn stores_what_the_model_says() -> io::Result<()> {
        let text = Sample::new(1).with(0.2, 0.1).text(2000);
        let mut model = Model::new();
        model.load(&text);
        let mut floor = Floor::new(gzip(&text)?)?;
        assert_eq!(floor.records(), model.loaded);
        let servers = servers(&[])?;
        floor.both(&servers.each_ref().map(Memcached::address))?;
        assert_eq!(floor.plain, text);
        for (device_type, server) in DEVICE_TYPES.iter().zip(&servers) {
            let stored = server.contents()?.into_iter().map(|(key, item)| (key, item.value)).collect();
            assert_eq!(model.servers[device_type], stored, "{device_type}");
        }
        Ok(())
    }

    #[test]
    fn a_refused_record_is_an_error() -> io::Result<()> {
        let line = format!("gaid\tx\t1\t2\t{}\n", ["7"; 5000].join(","));
        let floor = Floor::new(gzip(line.as_bytes())?)?;
        let servers = servers(&["-I", "8k", "-o", "slab_chunk_max=4096"])?;
        let addresses = servers.each_ref().map(Memcached::address);
        let error = floor.send(&addresses).unwrap_err();
        assert_eq!(error.to_string(), format!("{} refuses a record", addresses[1]));
        Ok(())
    }

    #[test]
    fn a_log_that_is_not_one_member_is_an_error() -> io::Result<()> {
        let member = gzip(b"idfa\tx\t1\t2\t3\n")?;
        for compressed in [&b""[..], b"idfa\tx\t1\t2\t3\n", &member[1..], &[&member[..], &[0; 4]].concat()] {
            assert!(Floor::new(compressed.to_owned()).is_err());
        }
        Ok(())
    }
}
