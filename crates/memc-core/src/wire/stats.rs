//! The numbers of `stats` that a load needs, and whether two are of one process.

use std::io;

/// A server that has been up for longer cannot have been started again within the same second.
/// memcached counts from 2 when it starts.
const YOUNG_SECONDS: u64 = 5;

/// Some of the general statistics of memcached's
/// [protocol](https://github.com/memcached/memcached/blob/master/doc/protocol.txt).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerStats {
    pid: u64,
    /// In seconds since 1970.
    time: u64,
    uptime_seconds: u64,
    /// Time that the process has used of the processors, in microseconds; not all systems count it.
    cpu_microseconds: Option<u64>,
    total_connections: Option<u64>,
    cmd_set: Option<u64>,
    total_items: Option<u64>,
    curr_items: Option<u64>,
    /// Valid items that were evicted: `evictions`, and those that had to go when a page of memory was
    /// moved (`slab_reassign_evictions_nomem`).
    pub(crate) evictions: u64,
    /// `bytes`, what its items take.
    pub(crate) memory_used_bytes: Option<u64>,
    /// `limit_maxbytes`, the option `-m`.
    pub(crate) memory_limit_bytes: Option<u64>,
}

/// Takes the lines of the answer to `stats`.
#[derive(Debug, Default)]
pub(crate) struct StatsReader {
    stats: ServerStats,
    pid: Option<u64>,
    time: Option<u64>,
    uptime: Option<u64>,
    evictions: Option<u64>,
}

impl StatsReader {
    /// Takes a line `STAT name value`; one without a name is an error, and so is a number that does not parse.
    pub(crate) fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace();
        let (Some("STAT"), Some(name)) = (words.next(), words.next()) else {
            return Err(wrong(&format!("has the line '{}'", line.escape_ascii())));
        };
        let value = words.next().unwrap_or_default();
        let number = || {
            let what = || wrong(&format!("has '{}' for '{name}'", value.escape_default()));
            value.parse::<u64>().map_err(|_| what())
        };
        let stats = &mut self.stats;
        match name {
            "pid" => self.pid = Some(number()?),
            "time" => self.time = Some(number()?),
            "uptime" => self.uptime = Some(number()?),
            "rusage_user" | "rusage_system" => {
                let used = microseconds(value)
                    .ok_or_else(|| wrong(&format!("has '{}' for '{name}'", value.escape_default())))?;
                let cpu = stats.cpu_microseconds.get_or_insert(0);
                *cpu = cpu.saturating_add(used);
            }
            "total_connections" => stats.total_connections = Some(number()?),
            "cmd_set" => stats.cmd_set = Some(number()?),
            "total_items" => stats.total_items = Some(number()?),
            "curr_items" => stats.curr_items = Some(number()?),
            "evictions" | "slab_reassign_evictions_nomem" => {
                let evictions = self.evictions.get_or_insert(0);
                *evictions = evictions.saturating_add(number()?);
            }
            "bytes" => stats.memory_used_bytes = Some(number()?),
            "limit_maxbytes" => stats.memory_limit_bytes = Some(number()?),
            _ => {}
        }
        Ok(())
    }

    /// What all lines say, unless what identifies the process, or says how it is, is missing: a proxy may have numbers of
    /// its own.
    pub(crate) fn finish(self) -> io::Result<ServerStats> {
        let needed =
            |number: Option<u64>, name: &str| number.ok_or_else(|| wrong(&format!("lacks '{name}'")));
        Ok(ServerStats {
            pid: needed(self.pid, "pid")?,
            time: needed(self.time, "time")?,
            uptime_seconds: needed(self.uptime, "uptime")?,
            evictions: needed(self.evictions, "evictions")?,
            ..self.stats
        })
    }
}

impl ServerStats {
    /// Whether these are of another process than `earlier`, when `stored` records were stored since: then all that
    /// it held is lost.
    ///
    /// In a container every process may have pid 1, and one that is killed and started again at once may start within
    /// the same second. Then its counters say so. `stats reset` sets these back, too, but not the time used of the
    /// processors nor the number of items, and of a server that has been up for a while the start second is enough.
    pub(crate) fn is_other_process(&self, earlier: &Self, stored: u64) -> bool {
        // The start in seconds since 1970 but for a constant.
        let started_at = |stats: &Self| stats.time.saturating_sub(stats.uptime_seconds);
        if (self.pid, started_at(self)) != (earlier.pid, started_at(earlier)) {
            return true;
        }
        let went_back = |now: Option<u64>, before: Option<u64>, more: u64| {
            now.zip(before).is_some_and(|(now, before)| now < before.saturating_add(more))
        };
        if went_back(self.cpu_microseconds, earlier.cpu_microseconds, 0) {
            return true;
        }
        let was_reset = went_back(self.total_items, self.curr_items, 0);
        earlier.uptime_seconds < YOUNG_SECONDS
            && !was_reset
            && (went_back(self.total_items, earlier.total_items, stored)
                || went_back(self.cmd_set, earlier.cmd_set, stored)
                || went_back(self.total_connections, earlier.total_connections, 0)
                || (went_back(self.curr_items, earlier.curr_items, 0) && self.total_items == Some(0)))
    }
}

/// Of `seconds.fraction` with six digits after the point.
fn microseconds(text: &str) -> Option<u64> {
    let (seconds, fraction) = text.split_once('.')?;
    if fraction.len() != 6 {
        return None;
    }
    seconds.parse::<u64>().ok()?.checked_mul(1_000_000)?.checked_add(fraction.parse().ok()?)
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("its answer to 'stats' {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(answer: &str) -> io::Result<ServerStats> {
        let mut reader = StatsReader::default();
        answer.lines().try_for_each(|line| reader.line(line.as_bytes()))?;
        reader.finish()
    }

    /// As memcached 1.6.18 answers, without what no load needs.
    fn recorded(pid: u32, uptime: u64, time: u64, cpu: [&str; 2], counters: [u64; 4]) -> ServerStats {
        let [user, system] = cpu;
        let [connections, sets, total, current] = counters;
        parse(&format!(
            "STAT pid {pid}\nSTAT uptime {uptime}\nSTAT time {time}\nSTAT version 1.6.18\n\
            STAT libevent 2.1.12-stable\nSTAT rusage_user {user}\nSTAT rusage_system {system}\n\
            STAT total_connections {connections}\nSTAT cmd_set {sets}\nSTAT limit_maxbytes 67108864\n\
            STAT bytes 77\nSTAT curr_items {current}\nSTAT total_items {total}\nSTAT slab_reassign_evictions_nomem 2\n\
            STAT evictions 3\n"
        ))
        .expect("a sound answer")
    }

    #[test]
    fn the_numbers_that_count_are_found() {
        let stats = recorded(7, 10, 1010, ["0.005656", "1.000344"], [3, 100, 90, 80]);
        assert_eq!((stats.pid, stats.time, stats.uptime_seconds), (7, 1010, 10));
        assert_eq!(stats.cpu_microseconds, Some(1_006_000));
        assert_eq!((stats.evictions, stats.memory_limit_bytes), (5, Some(67_108_864)));
        assert_eq!(stats.memory_used_bytes, Some(77));
    }

    #[test]
    fn garbage_in_an_answer_is_no_restart_but_an_error() {
        for (answer, error) in [
            ("STAT pid 1\nSTAT uptime 2", "lacks 'time'"),
            ("STAT pid 1\nSTAT time 2", "lacks 'uptime'"),
            ("STAT time 1\nSTAT uptime 2", "lacks 'pid'"),
            ("STAT pid 1\nSTAT uptime 2\nSTAT time 3", "lacks 'evictions'"),
            ("STAT pid -1", "has '-1' for 'pid'"),
            ("STAT pid", "has '' for 'pid'"),
            ("STAT rusage_user 1.5", "has '1.5' for 'rusage_user'"),
            ("STAT", "has the line 'STAT'"),
            ("VALUE x 0 1", "has the line 'VALUE x 0 1'"),
        ] {
            let outcome = parse(answer).map_err(|error| (error.kind(), error.to_string()));
            assert_eq!(outcome, Err((io::ErrorKind::InvalidData, format!("its answer to 'stats' {error}"))));
        }
    }

    #[test]
    fn another_pid_or_another_start_is_another_process() {
        let cpu = ["0.005656", "0.000000"];
        let first = recorded(4690, 2, 1_795_521_785, cpu, [3, 0, 0, 0]);
        assert!(
            !recorded(4690, 100, 1_795_521_883, ["1.5", "0.7"].map(|_| "1.500000"), [9, 1, 1, 1])
                .is_other_process(&first, 0)
        );
        assert!(recorded(4691, 3, 1_795_521_786, cpu, [3, 0, 0, 0]).is_other_process(&first, 0));
        assert!(recorded(4690, 2, 1_795_521_786, cpu, [3, 0, 0, 0]).is_other_process(&first, 0));
    }

    /// Pid 1 as in a container, killed and back within the second of its start.
    #[test]
    fn a_process_that_is_back_within_the_second_is_another_one() {
        let first = recorded(1, 2, 1_795_521_785, ["0.005656", "0.000000"], [2, 0, 0, 0]);
        let stored = 5000;
        for (cpu, counters) in [
            // It has used less, or as much or more before anything was stored.
            (["0.002101", "0.001050"], [3, 0, 0, 0]),
            (["0.005656", "0.000000"], [2, 0, 0, 0]),
            (["0.006012", "0.002004"], [3, 0, 0, 0]),
            // Others have stored something already.
            (["0.006012", "0.002004"], [9, 40, 40, 30]),
        ] {
            assert!(
                recorded(1, 2, 1_795_521_785, cpu, counters).is_other_process(&first, stored),
                "{counters:?}"
            );
        }
        let same = recorded(1, 3, 1_795_521_786, ["0.015656", "0.008000"], [6, 5000, 5000, 4000]);
        assert!(!same.is_other_process(&first, stored));
    }

    #[test]
    fn stats_reset_is_no_restart() {
        let old = recorded(1, 1000, 1_795_521_785, ["9.005656", "1.001322"], [400, 90_000, 90_000, 100]);
        // Few keys that are set again and again, so that the total is soon over the number of items.
        let reset = recorded(1, 1001, 1_795_521_786, ["9.005656", "1.001403"], [0, 0, 0, 100]);
        let later = recorded(1, 1009, 1_795_521_794, ["9.105656", "1.001403"], [1, 500, 500, 100]);
        assert!(!reset.is_other_process(&old, 1000));
        assert!(!later.is_other_process(&old, 1000));
        // A server that has just been started.
        let young = recorded(1, 2, 1_795_521_785, ["0.005656", "0.001322"], [4, 100, 100, 100]);
        let reset = recorded(1, 2, 1_795_521_785, ["0.005656", "0.001403"], [0, 0, 0, 100]);
        assert!(!reset.is_other_process(&young, 0));
    }
}
