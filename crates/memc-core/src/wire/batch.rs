//! The records of one chunk for one connection, as the bytes that go over the wire.
//!
//! A batch is quiet meta sets, `ms KEY LEN q`, closed by one `mn`: the server answers only refusals and the
//! end ([protocol, "Meta Commands"](https://docs.memcached.org/protocols/meta/)).

use crate::buffers::{self, Reusable};

/// Closes a batch; the server answers `MN` when everything before it is done.
pub(crate) const NOOP: &[u8] = b"mn\r\n";

/// Ends the header of a quiet set.
const QUIET_END: &[u8] = b" q\r\n";

/// See the module's text. Reused from chunk to chunk.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    commands: Vec<u8>,
    records: Vec<Place>,
}

/// Where a record of a batch stands and comes from.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Where its command ends in the bytes of the batch.
    end: usize,
    /// Its line, counted from 0 in its chunk.
    line: u32,
}

/// One record of a batch, read back from its command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored<'a> {
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
    pub(crate) line: u32,
}

impl Reusable for Batch {
    fn clear(&mut self) {
        self.commands.clear();
        self.records.clear();
    }

    fn bytes(&self) -> usize {
        buffers::resident_bytes(&self.commands) + self.records.capacity() * size_of::<Place>()
    }
}

impl Batch {
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

    /// Adds a record. The key must have been checked: nothing is escaped here.
    pub(crate) fn push(&mut self, line: u32, key: &[u8], value: &[u8]) {
        self.commands.extend_from_slice(b"ms ");
        self.commands.extend_from_slice(key);
        self.commands.push(b' ');
        self.commands.extend_from_slice(itoa::Buffer::new().format(value.len()).as_bytes());
        self.commands.extend_from_slice(QUIET_END);
        self.commands.extend_from_slice(value);
        self.commands.extend_from_slice(b"\r\n");
        self.records.push(Place { end: self.commands.len(), line });
    }

    /// Ends the batch: no record can be added after it.
    pub(crate) fn close(&mut self) {
        self.commands.extend_from_slice(NOOP);
    }

    /// What goes over the wire, once it is closed.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.commands
    }

    /// The same sets without the `q`, so that each one is answered.
    pub(crate) fn non_quiet_commands(&self) -> Vec<u8> {
        let mut commands = Vec::new();
        buffers::reserve(&mut commands, self.commands.len());
        for record in self.iter() {
            commands.extend_from_slice(b"ms ");
            commands.extend_from_slice(record.key);
            commands.push(b' ');
            commands.extend_from_slice(itoa::Buffer::new().format(record.value.len()).as_bytes());
            commands.extend_from_slice(b"\r\n");
            commands.extend_from_slice(record.value);
            commands.extend_from_slice(b"\r\n");
        }
        commands.extend_from_slice(NOOP);
        commands
    }

    /// The records in the order in which they were added.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Stored<'_>> {
        let mut start = 0;
        self.records.iter().map(move |place| {
            let command = &self.commands[start..place.end];
            start = place.end;
            let key_end = 3 + memchr::memchr(b' ', &command[3..]).unwrap_or(0);
            let value_start = memchr::memchr(b'\n', command).map_or(command.len(), |at| at + 1);
            Stored {
                key: &command[3..key_end],
                value: &command[value_start..command.len() - 2],
                line: place.line,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Batch {
        let mut batch = Batch::default();
        batch.push(0, b"idfa:a", b"one");
        batch.push(7, b"gaid:b", b"");
        batch.push(9, b"x", b"in\r\nside ms x 1 q\r\n");
        batch.close();
        batch
    }

    #[test]
    fn wire_format_is_quiet_meta_sets_and_one_no_op() {
        assert_eq!(
            sample().as_bytes(),
            b"ms idfa:a 3 q\r\none\r\nms gaid:b 0 q\r\n\r\nms x 19 q\r\nin\r\nside ms x 1 q\r\n\r\nmn\r\n"
        );
        assert_eq!(
            sample().non_quiet_commands(),
            b"ms idfa:a 3\r\none\r\nms gaid:b 0\r\n\r\nms x 19\r\nin\r\nside ms x 1 q\r\n\r\nmn\r\n"
        );
    }

    #[test]
    fn records_read_back_as_they_were_added() {
        let batch = sample();
        let records: Vec<_> = batch.iter().map(|it| (it.line, it.key, it.value)).collect();
        assert_eq!(
            records,
            [
                (0, &b"idfa:a"[..], &b"one"[..]),
                (7, b"gaid:b", b""),
                (9, b"x", b"in\r\nside ms x 1 q\r\n")
            ]
        );
    }
}
