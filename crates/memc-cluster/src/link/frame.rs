//! Frames: how a link tells bytes of the dataflow, messages and signs of life apart.

use std::io::{self, ErrorKind, IoSlice, Read, Write};

/// The most bytes of the dataflow in one frame.
pub(crate) const MAX_DATA_BYTES: usize = 256 * 1024;

/// What is said of a process whose connection has come to its end.
pub(crate) const CLOSED: &str = "has closed its connection: it was killed, or its machine went down";

/// No message is longer: a list of a million files.
const MAX_MESSAGE_BYTES: usize = 256 * 1024 * 1024;

const HEAD_BYTES: usize = 9;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A sign of life.
    Beat,
    /// Bytes of the dataflow of an attempt.
    Data,
    /// There are no more of them.
    DataEnd,
    Message,
}

const KINDS: [Kind; 4] = [Kind::Beat, Kind::Data, Kind::DataEnd, Kind::Message];

#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    /// The attempt that it belongs to, if it is of one.
    pub(crate) attempt: u32,
    pub(crate) payload: Vec<u8>,
}

/// Writes a frame as [`read`] reads it.
pub(crate) fn write(out: &mut impl Write, kind: Kind, attempt: u32, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len()).map_err(|_| ErrorKind::InvalidInput)?;
    let mut head = [kind as u8; HEAD_BYTES];
    head[1..5].copy_from_slice(&attempt.to_le_bytes());
    head[5..].copy_from_slice(&length.to_le_bytes());
    let mut slices = [IoSlice::new(&head), IoSlice::new(payload)];
    let mut slices = &mut slices[..];
    while !slices.is_empty() {
        match out.write_vectored(slices) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut slices, written),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads the next frame; an end between two frames is an error too.
pub(crate) fn read(from: &mut impl Read) -> io::Result<Frame> {
    let mut head = [0; HEAD_BYTES];
    from.read_exact(&mut head)?;
    let [kind, a, b, c, d, length @ ..] = head;
    let kind = *KINDS.get(usize::from(kind)).ok_or(ErrorKind::InvalidData)?;
    let length = u32::from_le_bytes(length) as usize;
    let most = if kind == Kind::Message { MAX_MESSAGE_BYTES } else { MAX_DATA_BYTES };
    if length > most {
        return Err(ErrorKind::InvalidData.into());
    }
    let mut payload = Vec::with_capacity(length);
    from.take(length as u64).read_to_end(&mut payload)?;
    if payload.len() < length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(Frame { kind, attempt: u32::from_le_bytes([a, b, c, d]), payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() -> io::Result<()> {
        let mut bytes = Vec::new();
        let frames = [(Kind::Data, 7, &b"some"[..]), (Kind::Beat, 0, b""), (Kind::Message, 1, b"text")];
        for (kind, attempt, payload) in frames {
            write(&mut bytes, kind, attempt, payload)?;
        }
        let mut from = &bytes[..];
        for expected in frames {
            let Frame { kind, attempt, payload } = read(&mut from)?;
            assert_eq!((kind, attempt, &payload[..]), expected);
        }
        assert_eq!(read(&mut from).err().map(|error| error.kind()), Some(ErrorKind::UnexpectedEof));
        for wrong in [&[9; HEAD_BYTES], &[1; HEAD_BYTES]] {
            assert_eq!(read(&mut &wrong[..]).err().map(|error| error.kind()), Some(ErrorKind::InvalidData));
        }
        Ok(())
    }
}
