//! What crosses between workers: batches on their way to a lane, and notes on their way to the books.
//!
//! Within a process they move as they are. To another process a batch crosses as one block of bytes.

use std::io::{self, Write};

use memc_core::Error;
use memc_core::stages::{Batch, Tally};
use serde::{Deserialize, Serialize};
use timely::bytes::arc::Bytes;
use timely::container::{Accountable, DrainContainer, PushInto, SizableContainer};
use timely::dataflow::channels::ContainerBytes;

use crate::fault::Fault;
use crate::place::Place;

/// The batch of one chunk for one lane.
#[derive(Debug)]
pub(crate) struct Load {
    pub(crate) place: Place,
    pub(crate) lane: u32,
    pub(crate) batch: Batch,
}

/// What the books have to know of a chunk.
#[derive(Debug)]
pub(crate) struct Note {
    pub(crate) place: Place,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    /// It was encoded.
    Encoded {
        bytes_in: u64,
        ends_input: bool,
        /// What its reader knows of its file, with the first chunk.
        mark: Option<String>,
        tally: Tally,
    },
    /// A lane has finished it.
    Acknowledged(Tally),
    /// It could not be read, and nothing after it may be loaded.
    Broken(Error),
}

/// What can cross.
pub(crate) trait Parcel: Sized + Send + 'static {
    /// How many bytes [`write_to`](Self::write_to) writes.
    fn wire_bytes(&self) -> usize;

    fn write_to(&self, out: &mut impl Write) -> io::Result<()>;

    fn from_bytes(bytes: &[u8]) -> Option<Self>;
}

impl Parcel for Load {
    fn wire_bytes(&self) -> usize {
        12 + self.batch.wire_bytes()
    }

    fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        out.write_all(&self.place.time().to_le_bytes())?;
        out.write_all(&self.lane.to_le_bytes())?;
        self.batch.write_to(out)
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, rest) = bytes.split_first_chunk()?;
        let (lane, rest) = rest.split_first_chunk()?;
        Some(Self {
            place: Place::of_time(u64::from_le_bytes(*time)),
            lane: u32::from_le_bytes(*lane),
            batch: Batch::from_bytes(rest)?,
        })
    }
}

/// A note as it crosses; the text of rejected lines follows as it is.
#[derive(Serialize, Deserialize)]
enum Letter<T> {
    Encoded { bytes_in: u64, ends_input: bool, mark: Option<String>, tally: T },
    Acknowledged { tally: T },
    Broken { fault: Fault },
}

impl Note {
    fn letter(&self) -> Vec<u8> {
        let letter = match &self.content {
            Content::Encoded { bytes_in, ends_input, mark, tally } => {
                Letter::Encoded { bytes_in: *bytes_in, ends_input: *ends_input, mark: mark.clone(), tally }
            }
            Content::Acknowledged(tally) => Letter::Acknowledged { tally },
            Content::Broken(error) => Letter::Broken { fault: error.into() },
        };
        // Numbers, texts and lists of them always become JSON.
        serde_json::to_vec(&letter).unwrap_or_default()
    }

    fn text(&self) -> &[u8] {
        match &self.content {
            Content::Encoded { tally, .. } | Content::Acknowledged(tally) => tally.text(),
            Content::Broken(_) => &[],
        }
    }
}

impl Parcel for Note {
    fn wire_bytes(&self) -> usize {
        16 + self.letter().len() + self.text().len()
    }

    fn write_to(&self, out: &mut impl Write) -> io::Result<()> {
        let letter = self.letter();
        out.write_all(&self.place.time().to_le_bytes())?;
        out.write_all(&(letter.len() as u64).to_le_bytes())?;
        out.write_all(&letter)?;
        out.write_all(self.text())
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (time, rest) = bytes.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (letter, text) = rest.split_at_checked(length)?;
        let with_text = |tally: Tally| tally.with_text(text.to_vec());
        let content = match serde_json::from_slice(letter).ok()? {
            Letter::Encoded { bytes_in, ends_input, mark, tally } => {
                Content::Encoded { bytes_in, ends_input, mark, tally: with_text(tally) }
            }
            Letter::Acknowledged { tally } => Content::Acknowledged(with_text(tally)),
            Letter::Broken { fault } => Content::Broken(fault.into()),
        };
        Some(Self { place: Place::of_time(u64::from_le_bytes(*time)), content })
    }
}

/// The container of the dataflow: its parcels leave one by one, as soon as they are there.
#[derive(Debug)]
pub(crate) struct Parcels<P>(Vec<P>);

impl<P> Default for Parcels<P> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<P> Accountable for Parcels<P> {
    fn record_count(&self) -> i64 {
        self.0.record_count()
    }
}

impl<P> DrainContainer for Parcels<P> {
    type Item<'a>
        = P
    where
        P: 'a;
    type DrainIter<'a>
        = std::vec::Drain<'a, P>
    where
        P: 'a;

    fn drain(&mut self) -> Self::DrainIter<'_> {
        self.0.drain(..)
    }
}

impl<P> SizableContainer for Parcels<P> {
    fn at_capacity(&self) -> bool {
        !self.0.is_empty()
    }

    fn ensure_capacity(&mut self, _: &mut Option<Self>) {}
}

impl<P> PushInto<P> for Parcels<P> {
    fn push_into(&mut self, parcel: P) {
        self.0.push(parcel);
    }
}

impl<P: Parcel> ContainerBytes for Parcels<P> {
    fn length_in_bytes(&self) -> usize {
        8 + self.0.iter().map(|parcel| 8 + parcel.wire_bytes()).sum::<usize>()
    }

    fn into_bytes<W: Write>(&self, out: &mut W) {
        let mut write = || {
            out.write_all(&(self.0.len() as u64).to_le_bytes())?;
            for parcel in &self.0 {
                out.write_all(&(parcel.wire_bytes() as u64).to_le_bytes())?;
                parcel.write_to(out)?;
            }
            Ok::<_, io::Error>(())
        };
        write().expect("timely gives room for as many bytes as were announced");
    }

    fn from_bytes(bytes: Bytes) -> Self {
        fn length(bytes: &mut &[u8]) -> Option<usize> {
            let (length, rest) = bytes.split_first_chunk()?;
            *bytes = rest;
            usize::try_from(u64::from_le_bytes(*length)).ok()
        }
        let mut rest = &bytes[..];
        let mut read = || {
            let mut parcels = Vec::new();
            for _ in 0..length(&mut rest)? {
                let length = length(&mut rest)?;
                let (parcel, after) = rest.split_at_checked(length)?;
                rest = after;
                parcels.push(P::from_bytes(parcel)?);
            }
            Some(Self(parcels))
        };
        read().expect("the handshake lets in nobody but this version, and TCP loses nothing")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_cross_with_their_text() {
        let tally = Tally::default().with_text(b"a line\n".to_vec());
        let place = Place { file: 3, chunk: 4 };
        let mark = Some("mark".to_owned());
        let content = Content::Encoded { bytes_in: 5, ends_input: true, mark, tally };
        let mut parcels = Parcels::default();
        for content in [content, Content::Broken(Error::Cancelled)] {
            parcels.push_into(Note { place, content });
        }
        let mut bytes = Vec::new();
        parcels.into_bytes(&mut bytes);
        assert_eq!(bytes.len(), parcels.length_in_bytes());
        let read = Parcels::<Note>::from_bytes(timely::bytes::arc::BytesMut::from(bytes).freeze());
        let [
            Note { place: found, content: Content::Encoded { bytes_in: 5, ends_input: true, mark, tally } },
            Note { content: Content::Broken(Error::Cancelled), .. },
        ] = &read.0[..]
        else {
            panic!("{read:?}");
        };
        assert_eq!((*found, mark.as_deref(), tally.text()), (place, Some("mark"), &b"a line\n"[..]));
    }
}
