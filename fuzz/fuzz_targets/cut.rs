//! Any text, cut at any size and read in any portions: the pieces hold the lines of a plain split.

#![no_main]

use std::io::{self, Read};

use libfuzzer_sys::fuzz_target;
use memc_core::fuzzing;

fuzz_target!(|data: &[u8]| {
    let Some((&[piece, max_line, first, second], text)) = data.split_first_chunk() else { return };
    let max_line_bytes = usize::from(max_line);
    let input = Portions { text, portions: [portion(first), 0, portion(second)] };
    let pieces = fuzzing::cut(input, portion(piece), max_line_bytes).expect("a text can be read");

    let mut lines = text.split_inclusive(|&byte| byte == b'\n');
    for (whole, piece) in pieces {
        assert!(!piece.is_empty(), "an empty piece");
        if whole {
            // A worker checks the length of each line of such a piece again.
            for line in piece.split_inclusive(|&byte| byte == b'\n') {
                assert_eq!(Some(line), lines.next());
            }
        } else {
            let line = lines.next().expect("a line more");
            assert!(line.strip_suffix(b"\n").unwrap_or(line).len() > max_line_bytes, "it is not overlong");
            assert!(line.starts_with(&piece), "not the beginning of the line");
        }
    }
    assert_eq!(lines.next(), None, "a line is lost");
});

/// At least one byte: a piece without any makes no way.
fn portion(byte: u8) -> usize {
    1 + usize::from(byte)
}

/// Reads in portions of these sizes, taken in turn; one of 0 is an interrupted read.
struct Portions<'a> {
    text: &'a [u8],
    portions: [usize; 3],
}

impl Read for Portions<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.portions.rotate_left(1);
        match self.portions[0].min(buffer.len()) {
            0 => Err(io::ErrorKind::Interrupted.into()),
            length => self.text.read(&mut buffer[..length]),
        }
    }
}
