//! What is in flight on a connection whose server answers for each set, so that a proxy need not hold much of it.

use std::collections::VecDeque;

/// At most this much is in flight on a connection, or one set that is larger. twemproxy takes a buffer of 16 KiB for
/// each set that it holds: some 20 MiB for as many small sets as this.
pub(crate) const MAX_BYTES: usize = 128 * 1024;

/// So much is written at once, up to the end of a command: several pieces are in flight at any time.
pub(crate) const PIECE_BYTES: usize = MAX_BYTES / 4;

/// The pieces whose sets are not all answered.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    pieces: VecDeque<Piece>,
    bytes: usize,
    /// Of the whole connection.
    sets: u64,
}

#[derive(Debug)]
struct Piece {
    /// How many sets are answered when all up to its end are.
    sets: u64,
    bytes: usize,
}

impl Flight {
    /// A piece of `bytes` is written next, in which `sets` sets end.
    pub(crate) fn add(&mut self, sets: u64, bytes: usize) {
        self.sets += sets;
        self.bytes += bytes;
        self.pieces.push_back(Piece { sets: self.sets, bytes });
    }

    /// Whether `bytes` more may be in flight, when `answered` sets are answered of all of the connection.
    pub(crate) fn has_room(&mut self, bytes: usize, answered: u64) -> bool {
        while self.pieces.front().is_some_and(|piece| piece.sets <= answered) {
            self.bytes -= self.pieces.pop_front().map_or(0, |piece| piece.bytes);
        }
        self.bytes == 0 || self.bytes + bytes <= MAX_BYTES
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_comes_with_answers() {
        let mut flight = Flight::default();
        assert!(flight.has_room(2 * MAX_BYTES, 0), "alone");
        flight.add(1, 2 * MAX_BYTES);
        assert!(!flight.has_room(1, 0));
        assert!(flight.has_room(1, 1));
        for _ in 0..4 {
            assert!(flight.has_room(PIECE_BYTES, 1));
            flight.add(10, PIECE_BYTES);
        }
        assert!(!flight.has_room(1, 10));
        assert!(flight.has_room(PIECE_BYTES, 11));
        assert!(!flight.has_room(PIECE_BYTES + 1, 11));
    }
}
