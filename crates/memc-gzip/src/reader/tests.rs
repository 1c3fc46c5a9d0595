//! Whole members, against flate2.

use std::io::{BufReader, Cursor, Write};

use flate2::write::GzEncoder;
use flate2::{Compression, Decompress, FlushDecompress};
use memc_testkit::{Sample, gzip};
use proptest::prelude::*;

use super::*;

/// A member in which the encoder starts a new block after every `flush` bytes at least.
fn compress(data: &[u8], level: u32, flush: usize) -> io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::new(level));
    for piece in data.chunks(flush) {
        out.write_all(piece)?;
        out.flush()?;
    }
    out.finish()
}

/// What is hard to compress.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..bytes).map(next).collect()
}

/// The output up to the end or the error; the input comes in pieces of `piece_bytes`.
fn read(compressed: &[u8], piece_bytes: usize) -> (Vec<u8>, io::Result<usize>) {
    let mut output = Vec::new();
    let result = GzReader::new(BufReader::with_capacity(piece_bytes, compressed)).read_to_end(&mut output);
    (output, result)
}

/// The same of the first member, by flate2.
fn read_by_flate2(compressed: &[u8]) -> (Vec<u8>, io::Result<usize>) {
    let mut output = Vec::new();
    let result = GzDecoder::new(compressed).read_to_end(&mut output);
    (output, result)
}

/// Output and kind of error must be those of flate2 for a single member; `what` says what it is.
fn check(compressed: &[u8], what: &str) {
    let (output, result) = read(compressed, 1 << 20);
    for (other, other_result) in [read(compressed, 100), read_by_flate2(compressed)] {
        let common = output.len().min(other.len());
        assert!(output[..common] == other[..common], "{what}");
        let kinds = [&result, &other_result].map(|result| result.as_ref().map_err(io::Error::kind));
        assert_eq!(kinds[0], kinds[1], "{what}");
    }
}

#[test]
fn any_data_comes_out_as_it_went_in() -> io::Result<()> {
    let log = Sample::new(1).text(2000);
    let mixed = [&log[..200_000], &noise(100_000), &log[200_000..400_000], &vec![0; 200_000]].concat();
    let inputs = [log, mixed, noise(200_000), b"ab\tc\n".repeat(50_000), b"short".to_vec(), Vec::new()];
    for (number, data) in inputs.iter().enumerate() {
        // At level 1, this encoder makes no codes of its own; at level 0 it stores.
        for (level, flush) in [(0, 5000), (1, 5000), (2, 3000), (6, 700), (6, usize::MAX), (9, 100_000)] {
            let compressed = [compress(data, level, flush)?, gzip(b"more")?].concat();
            let whole = [data, &b"more"[..]].concat();
            for piece_bytes in [1 << 20, 100_000, 2000, 300, 1] {
                let (output, result) = read(&compressed, piece_bytes);
                let what = format!("input {number}, {level}, {flush}, pieces of {piece_bytes}");
                assert!(output == whole, "{what}");
                assert_eq!(result?, whole.len(), "{what}");
            }
        }
    }
    Ok(())
}

#[test]
fn members_follow_each_other_with_zeros_between_and_after() -> io::Result<()> {
    let text = Sample::new(7).text(500);
    let (large, small, empty) = (compress(&text, 6, 3000)?, gzip(b"small")?, gzip(b"")?);
    let zeros = vec![0; 300_000];
    for (what, compressed, data) in [
        ("nothing", vec![], vec![]),
        ("zeros", zeros.clone(), vec![]),
        ("empty", empty.clone(), vec![]),
        ("small", small.clone(), b"small".to_vec()),
        (
            "small and large",
            [&small[..], &large, &small, &small, &large].concat(),
            [b"small", &text[..], b"smallsmall", &text].concat(),
        ),
        ("empty between", [&small[..], &empty, &empty, &small].concat(), b"smallsmall".to_vec()),
        ("zeros between", [&small[..], &zeros, &small].concat(), b"smallsmall".to_vec()),
        ("zeros after", [&large[..], &zeros].concat(), text.clone()),
        ("zeros before", [&[0; 10], &small[..]].concat(), b"small".to_vec()),
    ] {
        for piece_bytes in [1 << 20, 1000, 1] {
            let (output, result) = read(&compressed, piece_bytes);
            assert!(output == data, "{what} in pieces of {piece_bytes}");
            assert_eq!(result?, data.len(), "{what} in pieces of {piece_bytes}");
        }
    }
    Ok(())
}

#[test]
fn anything_else_after_a_member_is_an_error() -> io::Result<()> {
    let one = gzip(b"one")?;
    for (after, kind) in [
        (&b"garbage, as long as a header"[..], ErrorKind::InvalidInput),
        (b"\0\0garbage, after zeros", ErrorKind::InvalidInput),
        (&one[..5], ErrorKind::UnexpectedEof),
        (&one[..10], ErrorKind::UnexpectedEof),
        (b"\x1f\x8b\x07\0\0\0\0\0\0\0", ErrorKind::InvalidInput),
    ] {
        let (output, result) = read(&[&one[..], after].concat(), 1000);
        assert_eq!(output, b"one", "{after:?}");
        assert_eq!(result.map_err(|error| error.kind()), Err(kind), "{after:?}");
    }
    Ok(())
}

#[test]
fn a_broken_member_is_broken_in_the_same_way() -> io::Result<()> {
    let compressed = compress(&Sample::new(2).text(150), 6, 2000)?;
    for cut in (1..compressed.len()).step_by(211).chain(compressed.len() - 12..=compressed.len()) {
        check(&compressed[..cut], &format!("cut at {cut}"));
    }
    for at in (0..compressed.len()).step_by(199).chain(compressed.len() - 12..compressed.len()) {
        let mut flipped = compressed.clone();
        flipped[at] ^= 1 << (at % 8);
        check(&flipped, &format!("flipped at {at}"));
    }
    Ok(())
}

proptest! {
    #[test]
    fn every_header_is_read_as_by_flate2(
        flags in any::<u8>(), name in "[a-z]{0,20}", extra in 0..30_u8, cut in any::<prop::sample::Index>(),
        // Rarely, or few headers would be good.
        is_cut in (0..4_u8).prop_map(|number| number == 0),
    ) {
        let member = gzip(b"content")?;
        let mut compressed = member[..10].to_vec();
        compressed[3] = flags & if flags & 128 == 0 { 31 } else { 255 };
        if flags & 4 != 0 {
            compressed.extend([extra, 0]);
            compressed.extend(vec![7; extra.into()]);
        }
        for flag in [8, 16] {
            if flags & flag != 0 {
                compressed.extend(name.bytes().chain([0]));
            }
        }
        if flags & 2 != 0 {
            let mut crc = Crc::new();
            crc.update(&compressed);
            compressed.extend(&crc.sum().to_le_bytes()[..2]);
        }
        compressed.extend(&member[10..]);
        if is_cut {
            compressed.truncate(1 + cut.index(compressed.len()));
        }
        check(&compressed, "");
    }
}

#[test]
fn a_broken_stream_fails_after_its_output_and_stays_broken() -> io::Result<()> {
    // A block with fixed codes: an `a`, and the symbol 286, which stands for nothing.
    let compressed = [&gzip(b"")?[..10], &[0x4b, 0x1c, 0x03]].concat();
    for (bytes, kind) in [(13, ErrorKind::InvalidInput), (12, ErrorKind::UnexpectedEof)] {
        let mut reader = GzReader::new(&compressed[..bytes]);
        let mut output = Vec::new();
        let result = reader.read_to_end(&mut output);
        assert_eq!(result.map_err(|error| error.kind()), Err(kind));
        assert_eq!(output, b"a");
        assert!(reader.read_to_end(&mut output).is_err());
        assert_eq!(output, b"a");
    }
    Ok(())
}

#[test]
fn all_output_of_a_stream_that_is_cut_off_is_handed_out() -> io::Result<()> {
    // The room for output ends when the last bytes are in the decoder, with some KiB of output.
    let most = WINDOW_BYTES + PIECE_BYTES;
    let compressed = gzip(&vec![0; most + 20_000])?;
    let is_beyond = |cut: &usize| inflated(&compressed[10..*cut]).len() > most;
    let first = (10..compressed.len()).find(is_beyond).expect("room for less than all of it");
    for cut in first - 1..first + 8 {
        let (output, result) = read(&compressed[..cut], 1000);
        assert_eq!(output.len(), inflated(&compressed[10..cut]).len(), "cut at {cut}");
        assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::UnexpectedEof));
    }
    Ok(())
}

/// What flate2 makes of a deflate stream that is cut off.
fn inflated(compressed: &[u8]) -> Vec<u8> {
    let mut output = Vec::with_capacity(1 << 20);
    let result = Decompress::new(false).decompress_vec(compressed, &mut output, FlushDecompress::None);
    result.expect("sound up to its end");
    output
}

#[test]
fn a_member_copies_nothing_of_the_one_before() -> io::Result<()> {
    let (one, three) = (gzip(b"a")?, gzip(b"aaa")?);
    // A block with fixed codes: a match of three bytes, one byte back.
    let copy = [&three[..10], &[0x03, 0x02, 0x00], &three[three.len() - 8..]].concat();
    let (output, result) = read(&[one, copy].concat(), 1000);
    assert_eq!(output, b"a");
    assert_eq!(result.map_err(|error| error.to_string()), Err("corrupt deflate stream".to_owned()));
    Ok(())
}

#[test]
fn a_read_error_comes_after_the_output_before_it() -> io::Result<()> {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(ErrorKind::PermissionDenied.into())
        }
    }
    let text = Sample::new(3).text(1000);
    let compressed = compress(&text, 6, 2000)?;
    let input = BufReader::new(Cursor::new(&compressed[..compressed.len() / 2]).chain(Broken));
    let mut output = Vec::new();
    let result = GzReader::new(input).read_to_end(&mut output);
    assert_eq!(result.map_err(|error| error.kind()), Err(ErrorKind::PermissionDenied));
    assert!(output.len() > text.len() / 3 && text.starts_with(&output), "{}", output.len());
    Ok(())
}

#[test]
fn a_read_that_is_interrupted_loses_nothing() -> io::Result<()> {
    /// Interrupted before each byte.
    struct Interrupted(Cursor<Vec<u8>>, bool);
    impl Read for Interrupted {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(ErrorKind::Interrupted.into());
            }
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }
    let compressed = [&gzip(b"one ")?[..], &[0; 9], &gzip(b"two ")?, &gzip(b"three")?, &[0]].concat();
    let mut output = String::new();
    GzReader::new(BufReader::new(Interrupted(Cursor::new(compressed), false))).read_to_string(&mut output)?;
    assert_eq!(output, "one two three");
    Ok(())
}

#[test]
fn a_bomb_takes_no_memory() -> io::Result<()> {
    let compressed = gzip(&vec![0; 100 << 20])?;
    let mut reader = GzReader::new(&compressed[..]);
    let mut piece = [0; 10_000];
    let mut whole = 0;
    while let length @ 1.. = reader.read(&mut piece)? {
        assert!(reader.output.capacity() < 1 << 20, "{}", reader.output.capacity());
        whole += length;
    }
    assert_eq!(whole, 100 << 20);
    Ok(())
}

#[test]
fn the_input_comes_back_read_to_its_end() -> io::Result<()> {
    let compressed = [&gzip(b"one")?[..], &[0; 9]].concat();
    let mut reader = GzReader::new(&compressed[..]);
    assert_eq!(io::read_to_string(&mut reader)?, "one");
    assert_eq!(reader.read(&mut [0])?, 0);
    assert!(reader.into_inner().is_empty());
    Ok(())
}
