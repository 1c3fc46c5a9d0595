//! The decoder against that of flate2, wherever it is made to stop.

use std::io::{self, Write};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Decompress, FlushDecompress};
use memc_testkit::Sample;
use proptest::prelude::*;

use super::decoder::LENGTH_ORDER;
use super::*;

/// No output here is longer.
const MAX_OUTPUT: usize = 1 << 20;

/// What a decoder makes of an input: the output, why it stopped, and how much of the input it has used.
#[derive(PartialEq, Eq)]
struct Outcome {
    output: Vec<u8>,
    status: Status,
    bytes_used: usize,
}

/// Without the output, which may have a megabyte.
impl std::fmt::Debug for Outcome {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?} after {} bytes, decoded to {}", self.status, self.bytes_used, self.output.len())
    }
}

/// Decodes input that comes in pieces of `piece_bytes` into room that grows by `room_bytes`.
fn decode(compressed: &[u8], piece_bytes: usize, room_bytes: usize) -> Outcome {
    let mut decoder = Decoder::new();
    let mut output = Vec::new();
    let mut filled = 0;
    let mut pieces = compressed.chunks(piece_bytes);
    let mut bytes_read = 0;
    let mut input: &[u8] = &[];
    let status = loop {
        let before = input.len();
        let (end, status) = decoder.decode(&mut input, &mut output, filled);
        bytes_read += before - input.len();
        filled = end;
        match status {
            Status::NeedsRoom if filled < MAX_OUTPUT => output.resize(filled + room_bytes, 0),
            Status::NeedsInput => {
                assert!(input.is_empty());
                let Some(piece) = pieces.next() else { break Status::NeedsInput };
                input = piece;
            }
            status => break status,
        }
    };
    let mut unused = [0; 8];
    let bytes_used = bytes_read - decoder.take_unused(&mut unused);
    if status == Status::End {
        assert_eq!(unused[..bytes_read - bytes_used], compressed[bytes_used..bytes_read]);
    }
    output.truncate(filled);
    Outcome { output, status, bytes_used }
}

fn decode_by_flate2(compressed: &[u8]) -> Outcome {
    let mut decoder = Decompress::new(false);
    let mut output = Vec::with_capacity(MAX_OUTPUT);
    let status = match decoder.decompress_vec(compressed, &mut output, FlushDecompress::None) {
        Ok(flate2::Status::StreamEnd) => Status::End,
        Ok(_) if output.len() == MAX_OUTPUT => Status::NeedsRoom,
        Ok(_) => Status::NeedsInput,
        Err(_) => Status::Corrupt,
    };
    Outcome { output, status, bytes_used: usize::try_from(decoder.total_in()).expect("a small number") }
}

/// Both decoders must agree; `what` says what they decode.
fn check(compressed: &[u8], piece_bytes: usize, room_bytes: usize, what: &str) {
    let (own, other) = (decode(compressed, piece_bytes, room_bytes), decode_by_flate2(compressed));
    let common = own.output.len().min(other.output.len());
    assert!(own.output[..common] == other.output[..common], "{what}: {own:?}, {other:?}");
    match own.status {
        Status::End => assert_eq!(own, other, "{what}"),
        // A few bits more would show that they are no code.
        Status::NeedsInput if other.status == Status::Corrupt => {}
        // Each has filled its room.
        Status::NeedsRoom => {
            assert!(own.output.len() >= MAX_OUTPUT && other.output.len() == MAX_OUTPUT, "{what}");
        }
        status => {
            assert_eq!(status, other.status, "{what}: {own:?}, {other:?}");
            assert_eq!(own.output.len(), other.output.len(), "{what}: {own:?}, {other:?}");
        }
    }
}

/// Compresses `data`, with a new block after every `flush` bytes at least, and an empty stored one before it.
fn compress(data: &[u8], level: u32, flush: usize) -> io::Result<Vec<u8>> {
    let mut compressed = DeflateEncoder::new(Vec::new(), Compression::new(level));
    let mut pieces = data.chunks(flush).peekable();
    while let Some(piece) = pieces.next() {
        compressed.write_all(piece)?;
        if pieces.peek().is_some() {
            compressed.flush()?;
        }
    }
    compressed.finish()
}

/// Data of few symbols and of many, with matches near and far, short and long.
fn data() -> impl Strategy<Value = Vec<u8>> {
    let piece = (1..=255_u8, proptest::collection::vec(any::<u8>(), 1..300), 1..40_usize).prop_map(
        |(symbols, bytes, times)| bytes.iter().map(|it| it % symbols).collect::<Vec<_>>().repeat(times),
    );
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_data_comes_back_however_it_is_cut(
        data in data(), level in 0..10_u32, flush in 1..100_000_usize,
        piece_bytes in 1..3000_usize, room_bytes in 1..3000_usize,
    ) {
        let compressed = compress(&data, level, flush)?;
        let more = [&compressed[..], b"what comes after it"].concat();
        let outcome = decode(&more, piece_bytes, room_bytes);
        prop_assert_eq!(outcome.status, Status::End);
        prop_assert!(outcome.output == data);
        prop_assert_eq!(outcome.bytes_used, compressed.len());
    }

    #[test]
    fn what_is_broken_breaks_for_both_decoders(
        data in data(), level in 0..10_u32, flush in 1..100_000_usize,
        piece_bytes in 1..3000_usize, room_bytes in 1..3000_usize,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..4), cut in any::<bool>(),
    ) {
        let mut compressed = compress(&data, level, flush)?;
        for (at, bit) in &flips {
            let at = at.index(compressed.len());
            compressed[at] ^= 1 << bit;
        }
        if cut {
            compressed.truncate(flips[0].0.index(compressed.len()));
        }
        check(&compressed, piece_bytes, room_bytes, "");
    }
}

#[test]
fn both_decoders_take_the_same_beginnings() {
    // Most are headers of all kinds that are broken somewhere; a few begin blocks with fixed codes.
    let rest = Sample::new(3).text(3);
    for beginning in (0_u32..1 << 24).step_by(97) {
        let compressed = [&beginning.to_le_bytes()[..3], &rest].concat();
        check(&compressed, usize::MAX, 10_000, &format!("{beginning:#x}"));
    }
}

#[test]
fn a_log_comes_back_from_each_level() -> io::Result<()> {
    let text = Sample::new(5).text(2000);
    for level in 0..10 {
        let compressed = compress(&text, level, usize::MAX)?;
        for (piece_bytes, room_bytes) in [(usize::MAX, MAX_OUTPUT), (100, 65536), (65536, 100), (1, 1)] {
            let outcome = decode(&compressed, piece_bytes, room_bytes);
            assert!(outcome.status == Status::End && outcome.output == text, "{level}: {outcome:?}");
        }
    }
    Ok(())
}

/// A stream of one block whose two codes have these lengths. Each symbol is given as its code (0 or 1), the symbol,
/// the extra bits and their number.
fn encode_symbols(lengths: [&[u8]; 2], symbols: &[(usize, usize, usize, u32)]) -> Vec<u8> {
    let mut bits = Vec::new();
    let mut put = |value: usize, count: u32| bits.extend((0..count).map(|at| value >> at & 1));
    put(0b101, 3);
    put(lengths[0].len() - 257, 5);
    put(lengths[1].len() - 1, 5);
    put(15, 4);
    // Each length up to 15 has four bits.
    LENGTH_ORDER.iter().for_each(|&symbol| put(if symbol < 16 { 4 } else { 0 }, 3));
    for length in lengths.concat() {
        put(usize::from(length.reverse_bits() >> 4), 4);
    }
    for &(code, symbol, more, more_bits) in symbols {
        let bits = lengths[code][symbol];
        let shorter = lengths[code].iter().filter(|&&other| other > 0 && other < bits);
        let before: usize = shorter.map(|&other| 1 << (bits - other)).sum();
        let number = before + lengths[code][..symbol].iter().filter(|&&other| other == bits).count();
        put(number.reverse_bits() >> (usize::BITS - u32::from(bits)), bits.into());
        put(more, more_bits);
    }
    bits.chunks(8).map(|bits| bits.iter().rfold(0, |byte, &bit| byte << 1 | u8::from(bit == 1))).collect()
}

#[test]
fn the_longest_codes_with_the_most_extra_bits_are_read() {
    let mut lengths = vec![0; 286];
    // With 12 bits a length is still in the table of runs.
    let symbols = [97, 256, 98, 99, 100, 101, 102, 103, 104, 105, 106, 284, 107, 108, 283, 109];
    (1..=15).chain([15]).zip(symbols).for_each(|(bits, symbol)| lengths[symbol] = bits);
    let mut distances = vec![0; 30];
    (1..=15).chain([15]).zip(14..30).for_each(|(bits, symbol)| distances[symbol] = bits);
    let literals = [97, 98, 106, 107, 109].repeat(7000).into_iter().map(|literal| (0, literal, 0, 0));
    let matches = (0..1000).flat_map(|at| {
        let length = (0, 283 + at / 7 % 2, at % 31, 5);
        [length, (1, 29 - at % 3, at * 8 % 4096, 13 - (at % 3 > 1) as u32), (0, 106 + at % 2, 0, 0)]
    });
    let symbols: Vec<_> = literals.chain(matches).chain([(0, 256, 0, 0)]).collect();
    let compressed = encode_symbols([&lengths, &distances], &symbols);
    assert_eq!(decode(&compressed, usize::MAX, MAX_OUTPUT).status, Status::End);
    check(&compressed, usize::MAX, MAX_OUTPUT, "whole");
    check(&compressed, 100, 1000, "in pieces");
}

#[test]
fn a_header_has_an_end_of_its_block_and_no_more_codes_than_there_are_symbols() {
    for (codes, distances, end, status) in [
        (286, 30, 256, Status::End),
        (287, 30, 256, Status::Corrupt),
        (288, 30, 256, Status::Corrupt),
        (286, 31, 256, Status::Corrupt),
        (286, 32, 256, Status::Corrupt),
        (286, 30, 255, Status::Corrupt),
    ] {
        let mut lengths = vec![0; codes];
        (lengths[97], lengths[end]) = (1, 1);
        let compressed = encode_symbols([&lengths, &vec![0; distances]], &[(0, 97, 0, 0), (0, end, 0, 0)]);
        assert_eq!(decode(&compressed, usize::MAX, MAX_OUTPUT).status, status, "{codes} {distances} {end}");
        check(&compressed, usize::MAX, MAX_OUTPUT, "header");
    }
}

#[test]
fn a_stored_block_follows_where_more_bits_are_read_than_counted() {
    let mut lengths = vec![0; 257];
    (lengths[97], lengths[98], lengths[256]) = (1, 2, 2);
    for literals in 0..16 {
        // The end has only two bits. The header of the stored block is the three zeros after it.
        let symbols = [&vec![(0, 97, 0, 0); literals][..], &[(0, 256, 0, 3)]].concat();
        let mut compressed = encode_symbols([&lengths, &[1]], &symbols);
        // It is not the last block.
        compressed[0] &= !1;
        compressed.extend([20, 0, !20, !0]);
        compressed.extend([0xff; 20]);
        // An empty one is, and more input follows.
        compressed.extend([1, 0, 0, 0xff, 0xff]);
        let outcome = decode(&[&compressed[..], &[0xff; 20]].concat(), usize::MAX, MAX_OUTPUT);
        assert_eq!(outcome.status, Status::End, "{literals}");
        assert_eq!(outcome.output, [&vec![97; literals][..], &[0xff; 20]].concat());
        assert_eq!(outcome.bytes_used, compressed.len());
    }
}
