//! The record that an encoder makes of a line, with the parts it dropped and an explanation.

use std::borrow::Cow;
use std::time::Duration;

/// Dropped parts of a line that are kept to be quoted.
const MAX_KEPT_PARTS: usize = 16;

/// At most this many bytes of a dropped part are kept.
const MAX_PART_BYTES: usize = 128;

/// The buffers for one record, reused from line to line.
///
/// To try an encoder, begin with `Record::default()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The key under which the record is stored; the loader checks it against memcached's rules.
    pub key: Vec<u8>,
    /// The bytes to store.
    pub value: Vec<u8>,
    /// A number of the readers' own that memcached keeps with the value, such as how it is serialized or compressed.
    /// Default: 0.
    pub flags: u32,
    /// When the record expires, from the start of the load in which it is stored, in whole seconds, rounded up; one of
    /// zero has expired then. Default: `None`, as [`Options::ttl`](crate::Options::ttl) says.
    ///
    /// The server is given the time as an absolute one, so that it is the same however often the record is sent, and
    /// counts it by its own clock. What would expire after January 2038, which memcached's protocols cannot say,
    /// expires then.
    pub ttl: Option<Duration>,
    dropped: Vec<(&'static str, u64)>,
    /// The first dropped parts: the kind of each, and where it ends in `part_bytes`.
    parts: Vec<(&'static str, usize)>,
    part_bytes: Vec<u8>,
    explanation: Option<Cow<'static, str>>,
}

impl Record {
    /// Counts a part of the line that is left out though the record is loaded. `kind` says what is wrong with it, in
    /// the style of `out_of_range`; the first few parts of each kind are quoted in
    /// [`InputReport::dropped_parts`](crate::InputReport::dropped_parts).
    pub fn drop_part(&mut self, kind: &'static str, part: &[u8]) {
        match self.dropped.iter_mut().find(|(it, _)| *it == kind) {
            Some((_, count)) => *count += 1,
            None => self.dropped.push((kind, 1)),
        }
        let kept = self.parts.iter().filter(|(it, _)| *it == kind).count();
        if kept < crate::QUOTED_REJECTS && self.parts.len() < MAX_KEPT_PARTS {
            self.part_bytes.extend_from_slice(&part[..part.len().min(MAX_PART_BYTES)]);
            self.parts.push((kind, self.part_bytes.len()));
        }
    }

    /// How many parts of the line were dropped.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().map(|(_, count)| count).sum()
    }

    /// Says about a line that is then rejected what the reason does not, in a few words for
    /// [`RejectedLine::explanation`](crate::RejectedLine::explanation).
    pub fn explain(&mut self, text: impl Into<Cow<'static, str>>) {
        self.explanation = Some(text.into());
    }

    /// Makes it empty, for the next line.
    #[inline]
    pub fn clear(&mut self) {
        self.key.clear();
        self.value.clear();
        self.flags = 0;
        self.ttl = None;
        if !self.dropped.is_empty() || self.explanation.is_some() {
            self.forget_remarks();
        }
    }

    #[cold]
    fn forget_remarks(&mut self) {
        self.dropped.clear();
        self.parts.clear();
        self.part_bytes.clear();
        self.explanation = None;
    }

    /// How many parts of each kind were dropped.
    pub(crate) fn dropped(&self) -> &[(&'static str, u64)] {
        &self.dropped
    }

    /// The first dropped parts of each kind.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let mut start = 0;
        self.parts.iter().map(move |&(kind, end)| {
            let part = &self.part_bytes[start..end];
            start = end;
            (kind, part)
        })
    }

    pub(crate) fn take_explanation(&mut self) -> Option<Cow<'static, str>> {
        self.explanation.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_dropped_parts_of_each_kind_are_kept() {
        let mut record = Record::default();
        for part in 0..5 {
            record.drop_part("odd", format!("part {part}").as_bytes());
        }
        record.drop_part("long", &[b'x'; 1000]);
        assert_eq!((record.dropped(), record.dropped_total()), (&[("odd", 5), ("long", 1)][..], 6));
        let parts: Vec<_> = record.parts().collect();
        let expected = [
            ("odd", &b"part 0"[..]),
            ("odd", b"part 1"),
            ("odd", b"part 2"),
            ("long", &[b'x'; MAX_PART_BYTES]),
        ];
        assert_eq!(parts, expected);
        record.explain("it is odd");
        (record.flags, record.ttl) = (1, Some(Duration::ZERO));
        record.clear();
        assert_eq!(record, Record::default());
    }
}
