//! What a server says of itself: the numbers of `stats` that a load needs.

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
        for line in String::from_utf8_lossy(answer).lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some("STAT"), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let Ok(value) = value.parse::<u64>() else { continue };
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
        assert_eq!(ServerStats::parse(b"STAT time -1\r\nSTAT\r\n\xff\r\nEND\r\n"), ServerStats::default());
    }
}
