//! Records that were in flight on a connection that ended: read back, and set again where an old value arrived late.
//!
//! A proxy in between (one that ends TCP, and closes our side first) may still hold sets of a
//! connection that is gone, and deliver them after newer ones. They can only be of records that were in flight.

use std::collections::HashMap;
use std::io;
use std::time::{Duration, Instant};

use crate::wire::attributes::Attributes;
use crate::wire::batch::{Batch, Stored};
use crate::wire::connection::Connection;

/// The commands that read a few keys fit into the buffers of a socket, and into one TLS record.
const GROUP_BYTES: usize = 6 * 1024;

/// A record that is missing although it was set again this often has been evicted.
const MAX_TRIES: u8 = 2;

/// Reading back takes at most one part in `SHARE` of the time, once nothing has arrived late for a while.
const SHARE: u32 = 10;

/// Something that holds sets for no longer than this between two deliveries is noticed, however short the timeout.
const MIN_SETTLE: Duration = Duration::from_secs(1);

/// The keys that were in flight, each with what its server must hold.
#[derive(Debug, Default)]
pub(crate) struct Suspects {
    records: HashMap<Box<[u8]>, Suspect>,
    bytes: usize,
    /// How many connections have ended with records in flight.
    generation: u32,
    /// When the last of them ended.
    ended: Option<Instant>,
    /// Before that nothing counts as settled.
    settled_at: Option<Instant>,
    /// When all was found to be right, and how long it took to read.
    checked: Option<(Instant, Duration)>,
    counts: ReadBack,
}

#[derive(Debug)]
struct Suspect {
    /// What was acknowledged last; `None` if that was a refusal, or nothing since the connection ended.
    value: Option<Box<[u8]>>,
    /// What belongs to that value.
    attributes: Attributes,
    generation: u32,
    tries: u8,
}

/// How many records were in flight on connections that ended, were read back, were set again, and are no longer
/// read back because there are too many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReadBack {
    pub(crate) in_flight: u64,
    pub(crate) read_back: u64,
    pub(crate) set_again: u64,
    pub(crate) untracked: u64,
}

impl Suspects {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// A connection was given up with these batches in flight. Of more than `max_bytes` the oldest are
    /// no longer tracked.
    pub(crate) fn add<'a>(&mut self, batches: impl Iterator<Item = &'a Batch>, max_bytes: usize) {
        self.generation += 1;
        let generation = self.generation;
        for record in batches.flat_map(Batch::iter) {
            self.counts.in_flight += 1;
            let suspect = self.records.entry(record.key.into()).or_insert_with(|| {
                self.bytes += record.key.len() + size_of::<Suspect>();
                Suspect { value: None, attributes: Attributes::default(), generation, tries: 0 }
            });
            suspect.generation = generation;
        }
        let mut oldest = 0;
        while self.bytes > max_bytes && oldest + 1 < generation {
            oldest += 1;
            let before = self.records.len();
            self.records.retain(|_, suspect| suspect.generation > oldest);
            self.counts.untracked += (before - self.records.len()) as u64;
            self.bytes = self.records.iter().map(|(key, suspect)| suspect.bytes(key)).sum();
        }
    }

    /// That connection has ended, as far as we see. What is still in transit may take as long as `io_timeout`, and
    /// at least a second.
    pub(crate) fn connection_ended(&mut self, io_timeout: Duration) {
        let now = Instant::now();
        self.ended = Some(now);
        self.settled_at = self.settled_at.max(now.checked_add(io_timeout.max(MIN_SETTLE)));
    }

    /// Nothing can be in transit any more.
    pub(crate) fn clear(&mut self) {
        *self = Self { counts: self.counts, generation: self.generation, ..Self::default() };
    }

    /// They were in flight in an attempt that has ended: only what the next one sends again is compared.
    pub(crate) fn forget_values(&mut self) {
        self.records.values_mut().for_each(|suspect| suspect.set(None, &mut self.bytes));
    }

    /// A set was acknowledged, or refused.
    pub(crate) fn hold(&mut self, record: &Stored<'_>, is_refused: bool) {
        if let Some(suspect) = self.records.get_mut(record.key) {
            suspect.set((!is_refused).then_some(record.value), &mut self.bytes);
            suspect.attributes = record.attributes();
        }
    }

    /// Whether what may come late has had its time.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled_at.is_none_or(|at| at <= Instant::now())
    }

    /// Whether it is too early to read them back once more.
    pub(crate) fn are_just_checked(&self) -> bool {
        let long_ago = |(at, took): (Instant, Duration)| at.elapsed() >= took.saturating_mul(SHARE);
        self.is_settled() && !self.checked.is_none_or(long_ago)
    }

    /// The counts since this was asked last.
    pub(crate) fn take_counts(&mut self) -> ReadBack {
        std::mem::take(&mut self.counts)
    }

    /// Reads all of them back and sets again what is not as it must be; whether all was. Nothing may be in flight.
    pub(crate) fn read_back(&mut self, connection: &mut Connection) -> io::Result<bool> {
        let started = Instant::now();
        let mut stale = Batch::new(connection.manner().protocol);
        let mut missing: Vec<Box<[u8]>> = Vec::new();
        let mut group: Vec<(&[u8], &[u8])> = Vec::new();
        let mut records =
            self.records.iter().filter_map(|(key, it)| it.value.as_ref().map(|value| (key, value, it)));
        loop {
            let mut suspects = Vec::new();
            let mut bytes = 0;
            group.clear();
            for (key, value, suspect) in records.by_ref() {
                group.push((key, value));
                suspects.push(suspect);
                bytes += key.len() + size_of::<u64>();
                if bytes > GROUP_BYTES {
                    break;
                }
            }
            if group.is_empty() {
                break;
            }
            connection.compare(&group, |at, is_there| {
                let (key, value) = group[at];
                if !is_there {
                    missing.push(key.into());
                }
                if is_there || suspects[at].tries < MAX_TRIES {
                    stale.push(0, key, value, suspects[at].attributes);
                }
            })?;
            self.counts.read_back += group.len() as u64;
        }
        for key in missing {
            if let Some(suspect) = self.records.get_mut(&key) {
                suspect.tries = suspect.tries.saturating_add(1);
            }
        }
        self.checked = Some((Instant::now(), started.elapsed()));
        if stale.is_empty() {
            return Ok(true);
        }
        self.counts.set_again += stale.len() as u64;
        // More may come for as long as it has come until now.
        let now = Instant::now();
        let coming_for = self.ended.map_or(Duration::ZERO, |ended| ended.elapsed());
        self.settled_at = self.settled_at.max(now.checked_add(coming_for.max(MIN_SETTLE)));
        stale.close();
        connection.send(std::slice::from_ref(&stale))?;
        // What is refused will be found to be missing.
        connection.acknowledge()?;
        Ok(false)
    }
}

impl Suspect {
    fn bytes(&self, key: &[u8]) -> usize {
        key.len() + size_of::<Self>() + self.value.as_ref().map_or(0, |value| value.len())
    }

    fn set(&mut self, value: Option<&[u8]>, bytes: &mut usize) {
        *bytes -= self.value.as_ref().map_or(0, |value| value.len());
        self.value = value.map(Into::into);
        *bytes += self.value.as_ref().map_or(0, |value| value.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(keys: &[&str]) -> Batch {
        let mut batch = Batch::default();
        keys.iter().for_each(|key| batch.push(0, key.as_bytes(), b"value", Attributes::default()));
        batch
    }

    fn hold(suspects: &mut Suspects, key: &str, is_refused: bool) {
        batch(&[key]).iter().for_each(|record| suspects.hold(&record, is_refused));
    }

    #[test]
    fn of_too_many_the_oldest_are_dropped() {
        let mut suspects = Suspects::default();
        let one = "a".len() + size_of::<Suspect>() + "value".len();
        suspects.add([batch(&["a", "b"])].iter(), 3 * one);
        hold(&mut suspects, "a", false);
        hold(&mut suspects, "other", false);
        suspects.add([batch(&["b", "c"])].iter(), 3 * one);
        assert_eq!(suspects.records.len(), 3);
        hold(&mut suspects, "c", false);
        hold(&mut suspects, "c", true);
        suspects.add([batch(&["d"])].iter(), 3 * one);
        let mut keys: Vec<_> = suspects.records.keys().map(|key| key.escape_ascii().to_string()).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["b", "c", "d"]);
        assert_eq!(suspects.bytes, suspects.records.iter().map(|(key, it)| it.bytes(key)).sum::<usize>());
        assert_eq!(suspects.take_counts(), ReadBack { in_flight: 5, untracked: 1, ..ReadBack::default() });
        suspects.forget_values();
        suspects.clear();
        assert!(suspects.is_empty() && suspects.is_settled());
    }
}
