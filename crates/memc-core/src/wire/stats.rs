//! What a server says of itself: the numbers of `stats` that a load needs.

use std::time::Duration;

use crate::report::ServerStatus;

/// Some of the general statistics of memcached's
/// [protocol](https://github.com/memcached/memcached/blob/master/doc/protocol.txt).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerStats {
    pid: u64,
    /// `time` without `uptime`, in seconds since 1970 but for a constant.
    started_at: u64,
    /// Items that were valid and were removed to make room: `evictions`, and those that had to go when a
    /// page of memory was moved (`slab_reassign_evictions_nomem`).
    pub(crate) evictions: u64,
    /// `limit_maxbytes`, the option `-m`.
    pub(crate) memory_limit_bytes: u64,
}

impl ServerStats {
    /// Reads the lines `STAT name value`; what is missing counts as 0.
    pub(crate) fn parse(answer: &[u8]) -> Self {
        let mut stats = Self::default();
        let mut uptime = 0;
        for (name, value) in numbers(&String::from_utf8_lossy(answer)) {
            match name {
                "pid" => stats.pid = value,
                "time" => stats.started_at = value,
                "uptime" => uptime = value,
                "evictions" | "slab_reassign_evictions_nomem" => stats.evictions += value,
                "limit_maxbytes" => stats.memory_limit_bytes = value,
                _ => {}
            }
        }
        stats.started_at = stats.started_at.saturating_sub(uptime);
        stats
    }

    /// What tells one process from the next at the same address, even where all have the same pid.
    pub(crate) fn process(&self) -> (u64, u64) {
        (self.pid, self.started_at)
    }
}

/// Reads the lines `STAT name value` of what a server says of itself, for people.
pub(crate) fn parse_status(answer: &[u8]) -> ServerStatus {
    let answer = String::from_utf8_lossy(answer);
    let mut status = ServerStatus::default();
    for (name, value) in numbers(&answer) {
        match name {
            "uptime" => status.uptime = Duration::from_secs(value),
            "curr_items" => status.records = value,
            "bytes" => status.bytes_used = value,
            "limit_maxbytes" => status.memory_limit_bytes = Some(value),
            "evictions" | "slab_reassign_evictions_nomem" => status.evictions += value,
            _ => {}
        }
    }
    status.version = pairs(&answer).find(|(name, _)| *name == "version").map_or("", |(_, it)| it).to_owned();
    status
}

fn numbers(answer: &str) -> impl Iterator<Item = (&str, u64)> {
    pairs(answer).filter_map(|(name, value)| Some((name, value.parse().ok()?)))
}

/// The names and values of the lines `STAT name value`.
fn pairs(answer: &str) -> impl Iterator<Item = (&str, &str)> {
    answer.lines().filter_map(|line| {
        let mut words = line.split_ascii_whitespace();
        let (Some("STAT"), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
            return None;
        };
        Some((name, value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_that_count_are_found() {
        let answer = b"STAT pid 7\r\nSTAT uptime 10\r\nSTAT time 1010\r\nSTAT version 1.6.18\r\n\
            STAT limit_maxbytes 67108864\r\nSTAT slab_reassign_evictions_nomem 2\r\nSTAT evictions 3\r\nEND\r\n";
        let stats = ServerStats::parse(answer);
        assert_eq!(stats.process(), (7, 1000));
        assert_eq!((stats.evictions, stats.memory_limit_bytes), (5, 67_108_864));
        let status = parse_status(answer);
        assert_eq!((status.version.as_str(), status.uptime), ("1.6.18", Duration::from_secs(10)));
        assert_eq!((status.evictions, status.memory_limit_bytes), (5, Some(67_108_864)));
        assert_eq!(ServerStats::parse(b"STAT time -1\r\nSTAT\r\n\xff\r\nEND\r\n"), ServerStats::default());
    }
}
