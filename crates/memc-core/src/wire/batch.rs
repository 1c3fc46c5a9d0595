//! The records of one chunk for one connection, as the bytes that go over the wire.
//!
//! They are written as quiet meta sets, before it is known what the server speaks; for one that speaks the classic
//! protocol they are written again.

use std::io::{self, Write};

use crate::buffers::{self, Reusable};
use crate::wire::attributes::Attributes;
use crate::wire::classic;
use crate::wire::meta::{self, Answers};
use crate::wire::protocol::Protocol;

/// So much longer is a classic set than a quiet meta set at most, with the numbers that it must have.
const MORE_BYTES: usize = 3;

/// Quiet meta sets, closed by the no-op: the server answers only refusals and the end. Or classic sets, each of which is
/// answered. Reused from chunk to chunk.
#[derive(Debug, Default)]
pub struct Batch {
    commands: Vec<u8>,
    records: Vec<Place>,
    protocol: Protocol,
    /// Whether its chunk is the last one of an input.
    pub(crate) ends_input: bool,
}

/// Where a record of a batch stands and comes from.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where its command ends in the bytes of the batch.
    end: usize,
    value_bytes: u32,
    /// Its line, counted from 0 in its chunk.
    line: u32,
    key_bytes: u8,
}

/// One record of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) line: u32,
    /// What stands between key and value.
    between: &'a [u8],
    protocol: Protocol,
}

impl Stored<'_> {
    /// Its flags and its expiry.
    pub(crate) fn attributes(&self) -> Attributes {
        match self.protocol {
            Protocol::Meta => meta::attributes(self.between),
            Protocol::Classic => classic::attributes(self.between),
        }
    }
}

impl Reusable for Batch {
    fn clear(&mut self) {
        self.commands.clear();
        self.records.clear();
        self.protocol = Protocol::Meta;
        self.ends_input = false;
    }

    fn bytes(&self) -> usize {
        buffers::resident_bytes(&self.commands) + self.records.capacity() * size_of::<Place>()
    }
}

impl Batch {
    /// An empty one.
    pub(crate) fn new(protocol: Protocol) -> Self {
        Self { protocol, ..Self::default() }
    }

    pub(crate) fn protocol(&self) -> Protocol {
        self.protocol
    }

    pub(crate) fn len(&self) -> usize {
        self.records.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Makes room for commands of about this many bytes, so that it need not grow step by step.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        buffers::reserve(&mut self.commands, bytes);
    }

    /// Adds a record. The key must have been checked; the value is below 4 GiB, as no memcached takes more.
    pub(crate) fn push(&mut self, line: u32, key: &[u8], value: &[u8], attributes: Attributes) {
        match self.protocol {
            Protocol::Meta => {
                meta::push_set(&mut self.commands, key, value, attributes, Answers::Refusals);
            }
            Protocol::Classic => classic::push_set(&mut self.commands, key, value, attributes),
        }
        self.note(line, key, value);
    }

    /// Notes the record whose command was added.
    fn note(&mut self, line: u32, key: &[u8], value: &[u8]) {
        self.records.push(Place {
            end: self.commands.len(),
            value_bytes: u32::try_from(value.len()).unwrap_or(u32::MAX),
            line,
            key_bytes: u8::try_from(key.len()).unwrap_or(u8::MAX),
        });
    }

    /// Ends the batch: no record can be added after it.
    pub(crate) fn close(&mut self) {
        if self.protocol == Protocol::Meta {
            self.commands.extend_from_slice(meta::NOOP);
        }
    }

    /// Takes back that it is closed: another batch follows, which closes both.
    pub(crate) fn reopen(&mut self) {
        self.commands.truncate(self.records.last().map_or(0, |place| place.end));
    }

    /// What goes over the wire, once it is closed.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.commands
    }

    /// The same records for another protocol, in a batch that was used before.
    pub(crate) fn translate(&self, protocol: Protocol, into: &mut Self) {
        into.clear();
        into.protocol = protocol;
        into.ends_input = self.ends_input;
        into.reserve(self.commands.len() + MORE_BYTES * self.records.len());
        self.iter().for_each(|record| into.push(record.line, record.key, record.value, record.attributes()));
        into.close();
    }

    /// Meta sets of these records, which take about `bytes`, in the form in which each one is answered.
    pub(crate) fn non_quiet<'a>(bytes: usize, records: impl Iterator<Item = Stored<'a>>) -> Self {
        let mut batch = Self::default();
        batch.reserve(bytes);
        for record in records {
            let (key, value) = (record.key, record.value);
            meta::push_set(&mut batch.commands, key, value, record.attributes(), Answers::All);
            batch.note(record.line, key, value);
        }
        batch.close();
        batch
    }

    /// How many commands end behind `start`, up to `end`.
    pub(crate) fn sets_within(&self, start: usize, end: usize) -> u64 {
        let until = |at: usize| self.records.partition_point(|place| place.end <= at);
        (until(end) - until(start)) as u64
    }

    /// Where the last command ends that ends within `most` bytes from `start`, if one does.
    pub(crate) fn command_end(&self, start: usize, most: usize) -> Option<usize> {
        let within = self.records.partition_point(|place| place.end <= start + most);
        let end = self.records.get(within.checked_sub(1)?)?.end;
        (end > start).then_some(end)
    }

    /// The records in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Stored<'_>> {
        let mut start = 0;
        let protocol = self.protocol;
        let before_key = match protocol {
            Protocol::Meta => meta::BEFORE_KEY,
            Protocol::Classic => classic::BEFORE_KEY,
        };
        self.records.iter().map(move |place| {
            let key = start + before_key;
            let key_end = key + usize::from(place.key_bytes);
            let value_end = place.end - meta::AFTER_VALUE;
            let value = value_end - place.value_bytes as usize;
            start = place.end;
            Stored {
                key: &self.commands[key..key_end],
                value: &self.commands[value..value_end],
                line: place.line,
                between: &self.commands[key_end..value],
                protocol,
            }
        })
    }
}

/// What a batch takes beside its commands and places when it crosses to another process.
const HEAD_BYTES: usize = 9;

/// What one place takes.
const PLACE_BYTES: usize = 13;

/// As bytes for another process of the same version.
impl Batch {
    /// How many bytes [`write_to`](Self::write_to) writes.
    #[must_use]
    pub fn wire_bytes(&self) -> usize {
        HEAD_BYTES + self.records.len() * PLACE_BYTES + self.commands.len()
    }

    /// Writes it as [`from_bytes`](Self::from_bytes) reads it.
    ///
    /// # Errors
    ///
    /// Those of `out`.
    pub fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let mut head = [0; HEAD_BYTES];
        head[..8].copy_from_slice(&(self.records.len() as u64).to_le_bytes());
        head[8] = self.ends_input.into();
        out.write_all(&head)?;
        let mut start = 0;
        for place in &self.records {
            let mut bytes = [0; PLACE_BYTES];
            let length = u32::try_from(place.end - start).map_err(io::Error::other)?;
            bytes[..4].copy_from_slice(&length.to_le_bytes());
            bytes[4..8].copy_from_slice(&place.value_bytes.to_le_bytes());
            bytes[8..12].copy_from_slice(&place.line.to_le_bytes());
            bytes[12] = place.key_bytes;
            out.write_all(&bytes)?;
            start = place.end;
        }
        out.write_all(&self.commands)
    }

    /// The batch that was written so; `None` if it was not.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (head, rest) = bytes.split_at_checked(HEAD_BYTES)?;
        let records = usize::try_from(u64::from_le_bytes(head[..8].try_into().ok()?)).ok()?;
        let (places, commands) = rest.split_at_checked(records.checked_mul(PLACE_BYTES)?)?;
        let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
        let mut batch = Self { ends_input: head[8] == 1, ..Self::default() };
        batch.records.reserve_exact(records);
        let mut end = 0;
        for place in places.chunks_exact(PLACE_BYTES) {
            end += number(&place[..4])? as usize;
            batch.records.push(Place {
                end,
                value_bytes: number(&place[4..8])?,
                line: number(&place[8..12])?,
                key_bytes: place[12],
            });
        }
        batch.reserve(commands.len());
        batch.commands.extend_from_slice(commands);
        (end <= commands.len()).then_some(batch)
    }

    /// Whether its chunk is the last one of an input.
    #[must_use]
    pub fn ends_input(&self) -> bool {
        self.ends_input
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Batch {
        let mut batch = Batch::default();
        let none = Attributes::default();
        batch.push(0, b"idfa:a", b"one", none);
        batch.push(7, b"gaid:b", b"", none);
        batch.push(9, b"x", b"in\r\nside ms x 1 q\r\n", none);
        batch.close();
        batch
    }

    fn non_quiet(batch: &Batch) -> Batch {
        Batch::non_quiet(0, batch.iter())
    }

    fn records(batch: &Batch) -> Vec<(u32, &[u8], &[u8])> {
        batch.iter().map(|it| (it.line, it.key, it.value)).collect()
    }

    #[test]
    fn wire_format_is_quiet_meta_sets_and_one_no_op_or_classic_sets() {
        assert_eq!(
            sample().as_bytes(),
            b"ms idfa:a 3 q\r\none\r\nms gaid:b 0 q\r\n\r\nms x 19 q\r\nin\r\nside ms x 1 q\r\n\r\nmn\r\n"
        );
        let mut classic = Batch::default();
        sample().translate(Protocol::Classic, &mut classic);
        assert_eq!(
            classic.as_bytes(),
            b"set idfa:a 0 0 3\r\none\r\nset gaid:b 0 0 0\r\n\r\nset x 0 0 19\r\nin\r\nside ms x 1 q\r\n\r\n"
        );
        assert_eq!(
            non_quiet(&sample()).as_bytes(),
            b"ms idfa:a 3\r\none\r\nms gaid:b 0\r\n\r\nms x 19\r\nin\r\nside ms x 1 q\r\n\r\nmn\r\n"
        );
    }

    #[test]
    fn records_are_found_as_they_were_added() {
        let expected: [(u32, &[u8], &[u8]); 3] =
            [(0, b"idfa:a", b"one"), (7, b"gaid:b", b""), (9, b"x", b"in\r\nside ms x 1 q\r\n")];
        assert_eq!(records(&sample()), expected);
        assert_eq!(records(&non_quiet(&sample())), expected);
        let mut classic = Batch::default();
        sample().translate(Protocol::Classic, &mut classic);
        assert_eq!(records(&classic), expected);
    }

    #[test]
    fn flags_and_expiry_are_written_and_found_again() {
        let mut batch = Batch::default();
        let all = [(0, 0), (7, 0), (0, 1_700_000_000), (u32::MAX, 9)];
        let all = all.map(|(flags, expiry)| Attributes { flags, expiry });
        all.iter().for_each(|attributes| batch.push(0, b"F9", b"T1", *attributes));
        assert_eq!(
            batch.as_bytes().escape_ascii().to_string().replace("\\r\\n", "|"),
            "ms F9 2 q|T1|ms F9 2 F7 q|T1|ms F9 2 T1700000000 q|T1|ms F9 2 F4294967295 T9 q|T1|"
        );
        let mut classic = Batch::default();
        batch.translate(Protocol::Classic, &mut classic);
        let mut meta = Batch::default();
        classic.translate(Protocol::Meta, &mut meta);
        batch.close();
        assert_eq!(meta.as_bytes(), batch.as_bytes(), "there and back");
        for batch in [&batch, &non_quiet(&batch), &classic] {
            assert!(batch.iter().map(|record| record.attributes()).eq(all));
        }
    }

    #[test]
    fn a_batch_crosses_as_bytes() {
        let batch = Batch { ends_input: true, ..sample() };
        let mut bytes = Vec::new();
        batch.write_to(&mut bytes).expect("a vector takes it");
        assert_eq!(bytes.len(), batch.wire_bytes());
        let read = Batch::from_bytes(&bytes).expect("it is whole");
        assert_eq!((read.as_bytes(), read.ends_input), (batch.as_bytes(), true));
        assert_eq!(records(&read), records(&batch));
        for cut in [0, 8, 30, bytes.len() - 40] {
            assert!(Batch::from_bytes(&bytes[..cut]).is_none(), "{cut}");
        }
    }

    #[test]
    fn commands_end_where_they_were_added() {
        let batch = sample();
        let ends = [20, 37, 69];
        assert_eq!(ends.map(|end| batch.command_end(0, end)), ends.map(Some));
        assert_eq!([0, 19, 36, 68].map(|most| batch.command_end(0, most)), [None, None, Some(20), Some(37)]);
        assert_eq!((batch.command_end(20, 16), batch.command_end(20, 49)), (None, Some(69)));
        assert_eq!(batch.command_end(69, 100), None);
        assert_eq!(
            [(0, 69), (0, 19), (20, 37), (19, 68)].map(|(a, b)| batch.sets_within(a, b)),
            [3, 0, 1, 2]
        );
    }
}
