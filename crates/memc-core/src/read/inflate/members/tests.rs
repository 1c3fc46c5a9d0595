//! Whole members, by one thread and by several.

use std::io::{Cursor, Write};
use std::sync::Arc;

use flate2::write::GzEncoder;
use flate2::{Compression, Decompress, FlushDecompress};
use memc_testkit::{Sample, gzip};

use super::*;

type Packed = Cursor<Vec<u8>>;

/// A member in which the encoder begins a new block after each `flush` bytes, at least.
fn pack(text: &[u8], level: u32, flush: usize) -> io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::new(level));
    for piece in text.chunks(flush) {
        out.write_all(piece)?;
        out.flush()?;
    }
    out.finish()
}

/// What is hard to guess.
fn noise(bytes: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let next = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state.to_be_bytes()[0]
    };
    (0..bytes).map(next).collect()
}

fn members(packed: Vec<u8>, threads: usize, segment_bytes: usize) -> Members<Packed> {
    Members::new(Ahead::new(Cursor::new(packed), threads, segment_bytes))
}

/// The text up to the end or the error.
fn read(packed: Vec<u8>, threads: usize, segment_bytes: usize) -> (Vec<u8>, io::Result<usize>) {
    let mut text = Vec::new();
    let result = members(packed, threads, segment_bytes).read_to_end(&mut text);
    (text, result)
}

#[test]
fn any_text_comes_out_as_it_went_in() -> io::Result<()> {
    let log = Sample::new(1).text(2000);
    let mixed = [&log[..200_000], &noise(100_000), &log[200_000..400_000], &vec![0; 200_000]].concat();
    let texts = [log, mixed, noise(200_000), b"ab\tc\n".repeat(50_000), b"short".to_vec(), Vec::new()];
    for (number, text) in texts.iter().enumerate() {
        // At level 1, this encoder makes no codes of its own; at level 0 it stores.
        for (level, flush) in [(0, 5000), (1, 5000), (2, 3000), (6, 700), (6, usize::MAX), (9, 100_000)] {
            let packed = [pack(text, level, flush)?, gzip(b"more")?].concat();
            let whole = [text, &b"more"[..]].concat();
            for (threads, segment_bytes) in [(2, 100_000), (3, 2000), (8, 20_000), (2, 300), (1, 2000)] {
                let (out, result) = read(packed.clone(), threads, segment_bytes);
                let what = format!("text {number}, {level}, {flush}, {threads} threads, {segment_bytes}");
                assert!(out == whole, "{what}");
                assert_eq!(result?, whole.len(), "{what}");
            }
        }
    }
    Ok(())
}

#[test]
fn a_broken_member_is_broken_in_the_same_way() -> io::Result<()> {
    let packed = pack(&Sample::new(2).text(150), 6, 2000)?;
    let check = |packed: Vec<u8>, what: &str| {
        let (text, result) = read(packed.clone(), 1, 1);
        let (split_text, split_result) = read(packed.clone(), 4, 3000);
        let mut reference = Vec::new();
        let reference_result = GzDecoder::new(&packed[..]).read_to_end(&mut reference);
        for (other, other_result) in [(split_text, split_result), (reference, reference_result)] {
            let common = text.len().min(other.len());
            assert!(text[..common] == other[..common], "{what}");
            let kinds = [&result, &other_result].map(|result| result.as_ref().map_err(io::Error::kind));
            assert_eq!(kinds[0], kinds[1], "{what}");
        }
    };
    for cut in (1..packed.len()).step_by(211).chain(packed.len() - 12..=packed.len()) {
        check(packed[..cut].to_vec(), &format!("cut at {cut}"));
    }
    for at in (0..packed.len()).step_by(199).chain(packed.len() - 12..packed.len()) {
        let mut flipped = packed.clone();
        flipped[at] ^= 1 << (at % 8);
        check(flipped, &format!("flipped at {at}"));
    }
    Ok(())
}

#[test]
fn a_broken_stream_is_told_behind_its_text_and_stays_broken() -> io::Result<()> {
    // A block with fixed codes: an `a`, and the symbol 286, which stands for nothing.
    let packed = [&gzip(b"")?[..10], &[0x4b, 0x1c, 0x03]].concat();
    for (bytes, kind) in [(13, io::ErrorKind::InvalidInput), (12, io::ErrorKind::UnexpectedEof)] {
        let mut members = members(packed[..bytes].to_vec(), 1, 1);
        let mut text = Vec::new();
        let result = members.read_to_end(&mut text);
        assert_eq!(result.map_err(|error| error.kind()), Err(kind));
        assert_eq!(text, b"a");
        assert!(members.read_to_end(&mut text).is_err());
        assert_eq!(text, b"a");
    }
    Ok(())
}

#[test]
fn all_text_of_a_cut_stream_is_handed_out() -> io::Result<()> {
    // The room for text ends when the last bytes are in the decoder, with some KiB of text.
    let most = WINDOW_BYTES + PIECE_BYTES;
    let packed = gzip(&vec![0; most + 20_000])?;
    let is_behind = |cut: &usize| inflated(&packed[10..*cut]).len() > most;
    let first = (10..packed.len()).find(is_behind).expect("room for less than all of it");
    for cut in first - 1..first + 8 {
        let (text, result) = read(packed[..cut].to_vec(), 1, 1);
        assert_eq!(text.len(), inflated(&packed[10..cut]).len(), "cut at {cut}");
        assert_eq!(result.map_err(|error| error.kind()), Err(io::ErrorKind::UnexpectedEof));
    }
    Ok(())
}

/// What flate2 makes of a cut deflate stream.
fn inflated(packed: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(1 << 20);
    let result = Decompress::new(false).decompress_vec(packed, &mut text, FlushDecompress::None);
    result.expect("sound up to its end");
    text
}

#[test]
fn a_member_copies_nothing_of_the_one_before() -> io::Result<()> {
    let (one, three) = (gzip(b"a")?, gzip(b"aaa")?);
    // A block with fixed codes: a match of three bytes, one byte back.
    let copy = [&three[..10], &[0x03, 0x02, 0x00], &three[three.len() - 8..]].concat();
    let (text, result) = read([one, copy].concat(), 1, 1);
    assert_eq!(text, b"a");
    assert_eq!(result.map_err(|error| error.to_string()), Err("corrupt deflate stream".to_owned()));
    Ok(())
}

#[test]
fn a_read_error_comes_behind_the_text_before_it() -> io::Result<()> {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
    let text = Sample::new(3).text(1000);
    let packed = pack(&text, 6, 2000)?;
    let input = io::BufReader::new(Cursor::new(&packed[..packed.len() / 2]).chain(Broken));
    let mut out = Vec::new();
    let result = Members::new(Ahead::new(input, 3, 5000)).read_to_end(&mut out);
    assert_eq!(result.map_err(|error| error.kind()), Err(io::ErrorKind::PermissionDenied));
    assert!(out.len() > text.len() / 3 && text.starts_with(&out), "{}", out.len());
    Ok(())
}

#[test]
fn a_large_member_comes_from_stretches_wherever_it_stands() -> io::Result<()> {
    let text = Sample::new(7).text(500);
    let (large, small) = (pack(&text, 6, 3000)?, gzip(b"small")?);
    let packed = [&small[..], &large, &small, &small, &large].concat();
    let whole = [b"small", &text[..], b"smallsmall", &text].concat();
    let mut members = members(packed, 3, 20_000);
    let (mut out, mut piece) = (Vec::new(), [0; 1000]);
    while let length @ 1.. = members.read(&mut piece)? {
        out.extend_from_slice(&piece[..length]);
        assert!(!matches!(members.next, Next::Text), "not split at {}", out.len());
    }
    assert!(out == whole);
    Ok(())
}

#[test]
fn a_bomb_takes_no_memory() -> io::Result<()> {
    let mut members = members(gzip(&vec![0; 100 << 20])?, 4, 10_000);
    let mut piece = [0; 10_000];
    let mut whole = 0;
    while let length @ 1.. = members.read(&mut piece)? {
        assert!(members.text.capacity() < 1 << 20, "{}", members.text.capacity());
        whole += length;
    }
    assert_eq!(whole, 100 << 20);
    Ok(())
}

#[test]
fn nothing_goes_on_when_it_is_dropped() -> io::Result<()> {
    let packed = pack(&Sample::new(4).text(2000), 6, 2000)?;
    for bytes in [1, 100_000, 400_000] {
        let mut members = members(packed.clone(), 4, 5000);
        members.read_exact(&mut vec![0; bytes])?;
        assert!(matches!(members.next, Next::Stretch(_)));
        let segments: Vec<_> = (0..5).map_while(|index| members.input.segment(index)).collect();
        drop(members);
        assert!(segments.iter().all(|segment| Arc::strong_count(segment) == 1));
    }
    Ok(())
}

#[test]
fn of_many_small_members_few_are_given_to_the_threads() -> io::Result<()> {
    let text = Sample::new(6).text(600);
    let mut packed = Vec::new();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        packed.extend(gzip(line)?);
    }
    let segment_bytes = 10_000;
    let most = 4 * (packed.len() / segment_bytes + 1);
    let mut input = Ahead::new(Cursor::new(packed), 2, segment_bytes);
    let mut split = 0;
    for _ in 0..600 {
        split += usize::from(input.begin_member());
        let mut header = GzDecoder::new(&mut input);
        header.read_to_end(&mut Vec::new())?;
    }
    assert!(input.fill_buf()?.is_empty());
    assert!(split <= most, "{split} of 600");
    Ok(())
}
