//! How a path is written where people and tools read it: in one piece, whatever it is made of.

use std::fmt::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A path on one line: control characters, backslashes and what would change the direction of the text are
/// escaped as in Rust, and bytes that are not UTF-8 as `\xff`. A file's name could otherwise forge lines of the
/// log, or move the columns of the rejects.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shown<'a>(&'a Path);

/// This path, to be written.
pub(crate) fn shown(path: &Path) -> Shown<'_> {
    Shown(path)
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.as_os_str().as_bytes().utf8_chunks() {
            for character in chunk.valid().chars() {
                match is_plain(character) {
                    true => out.write_char(character)?,
                    false => write!(out, "{}", character.escape_default())?,
                }
            }
            write!(out, "{}", chunk.invalid().escape_ascii())?;
        }
        Ok(())
    }
}

/// Whether it may stand for itself: neither the escape's own sign, nor something that acts instead of showing.
fn is_plain(character: char) -> bool {
    let is_separator = matches!(character, '\u{2028}' | '\u{2029}');
    let turns =
        matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    character != '\\' && !character.is_control() && !is_separator && !turns
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_path_is_one_piece_of_printable_text() {
        for (path, expected) in [
            (&b"/logs/2017 \xc3\xa9'.tsv.gz"[..], "/logs/2017 é'.tsv.gz"),
            (b"a\nb\tc\x1b[2J\x7f", "a\\nb\\tc\\u{1b}[2J\\u{7f}"),
            (b"2017\xff\xfe.gz", "2017\\xff\\xfe.gz"),
            (b"a\\n", "a\\\\n"),
            ("a\u{85}\u{202e}\u{2028}b".as_bytes(), "a\\u{85}\\u{202e}\\u{2028}b"),
        ] {
            assert_eq!(shown(Path::new(OsStr::from_bytes(path))).to_string(), expected);
        }
    }
}
