//! What an input that is not gzip looks like, by its first bytes.

use std::io::{Error, ErrorKind};

/// The two bytes that every gzip member starts with (RFC 1952, section 2.3.1).
pub(crate) const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// How many bytes show what an input looks like; the mark of tar stands farthest back.
pub(crate) const HEAD_BYTES: u64 = 512;

/// First bytes, and what starts with them.
const MAGICS: [(&[u8], &str); 18] = [
    (b"\xfd7zXZ\0", "xz data"),
    (b"\x28\xb5\x2f\xfd", "zstd data"),
    (b"BZh", "bzip2 data"),
    (b"\x04\x22\x4d\x18", "lz4 data"),
    (b"LZIP", "lzip data"),
    (b"\xff\x06\0\0sNaPpY", "snappy data"),
    (b"\x1f\x9d", "the data of compress (.Z)"),
    (b"\x78\x01", "zlib data"),
    (b"\x78\x5e", "zlib data"),
    (b"\x78\x9c", "zlib data"),
    (b"\x78\xda", "zlib data"),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "a zip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"Rar!", "a RAR archive"),
    (b"\x7fELF", "a program"),
    (b"PAR1", "Parquet data"),
    (b"Obj\x01", "Avro data"),
];

/// Where a tar archive says so.
const TAR_AT: usize = 257;

/// The error of an input that starts with `head`, which is its first [`HEAD_BYTES`] or all of it and not gzip.
pub(crate) fn not_gzip(head: &[u8]) -> Error {
    let incomplete = |text| Error::new(ErrorKind::UnexpectedEof, text);
    match head {
        [] => incomplete("it is empty"),
        [first] if *first == GZIP_MAGIC[0] => incomplete("it is the first byte of gzip and no more"),
        // The method that every gzip member has (section 2.3.1).
        [_, second, 8, ..] if *second == GZIP_MAGIC[1] => {
            Error::new(ErrorKind::InvalidData, "not gzip, or gzip with a damaged first byte")
        }
        _ => Error::new(ErrorKind::InvalidData, format!("not gzip but {}", look(head))),
    }
}

/// What these bytes look like, which are not none.
fn look(head: &[u8]) -> &'static str {
    if let Some((_, name)) = MAGICS.iter().find(|(magic, _)| head.starts_with(magic)) {
        return name;
    }
    if head.get(TAR_AT..).is_some_and(|rest| rest.starts_with(b"ustar")) {
        return "a tar archive";
    }
    if head.iter().all(|&byte| byte == 0) {
        return "zero bytes";
    }
    let is_markup = head.trim_ascii_start().first() == Some(&b'<');
    match head.iter().all(|&byte| byte >= b' ' && byte != 0x7f || byte.is_ascii_whitespace()) {
        // An error page that was saved under the name of the log.
        true if is_markup => "HTML or XML",
        // Log lines need not be UTF-8, but most bytes of compressed data are not ASCII.
        true if head.iter().filter(|byte| byte.is_ascii()).count() * 2 > head.len() => "plain text",
        _ => "unknown data",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_told_by_its_first_bytes() {
        let tar = [&[b'a'; TAR_AT][..], b"ustar\0"].concat();
        for (head, expected) in [
            (&b"\xfd7zXZ\0\0\x04"[..], "xz data"),
            (b"\x28\xb5\x2f\xfd\x04", "zstd data"),
            (b"BZh91AY", "bzip2 data"),
            (b"PK\x03\x04\x14", "a zip archive"),
            (b"\x78\x9c\xcb", "zlib data"),
            (b"idfa\te7e1\t1\t2\t3\r\n", "plain text"),
            (b"idfa\tn\xe9\t1\t2\t3\n", "plain text"),
            (b"\n<!DOCTYPE html>", "HTML or XML"),
            (b"\0\0\0", "zero bytes"),
            (b"\xe9\xf0\xa1\xb3", "unknown data"),
            (b"text\x01", "unknown data"),
            (&tar, "a tar archive"),
        ] {
            assert_eq!(look(head), expected, "{}", head.escape_ascii());
        }
    }
}
