//! The decoder against that of flate2, wherever it is made to stop.

use std::io::{self, Write};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Decompress, FlushDecompress, Status};
use memc_testkit::Sample;
use proptest::prelude::*;

use super::*;

/// No text here is longer.
const MAX_TEXT: usize = 1 << 20;

/// What a decoder makes of an input: the text, why it ended, and how much of the input it has used.
#[derive(PartialEq, Eq)]
struct Outcome {
    text: Vec<u8>,
    stop: Stop,
    bytes_used: usize,
}

/// Shows no text of a megabyte.
impl std::fmt::Debug for Outcome {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{:?} behind {} bytes of {}", self.stop, self.bytes_used, self.text.len())
    }
}

/// Decodes input that comes in pieces of so many bytes into room that grows by so many.
fn decode(packed: &[u8], piece_bytes: usize, room_bytes: usize) -> Outcome {
    let mut decoder = Decoder::new();
    let mut text = Vec::new();
    let mut filled = 0;
    let mut pieces = packed.chunks(piece_bytes);
    let mut bytes_read = 0;
    let mut input: &[u8] = &[];
    let stop = loop {
        let before = input.len();
        let (end, stop) = decoder.decode(&mut input, &mut text, filled);
        bytes_read += before - input.len();
        filled = end;
        match stop {
            Stop::Room if filled < MAX_TEXT => text.resize(filled + room_bytes, 0),
            Stop::Input => {
                assert!(input.is_empty());
                let Some(piece) = pieces.next() else { break Stop::Input };
                input = piece;
            }
            Stop::Block => {}
            stop => break stop,
        }
    };
    let mut unused = [0; 8];
    let bytes_used = bytes_read - decoder.take_unused(&mut unused);
    if stop == Stop::End {
        assert_eq!(unused[..bytes_read - bytes_used], packed[bytes_used..bytes_read]);
    }
    text.truncate(filled);
    Outcome { text, stop, bytes_used }
}

fn decode_by_flate2(packed: &[u8]) -> Outcome {
    let mut decoder = Decompress::new(false);
    let mut text = Vec::with_capacity(MAX_TEXT);
    let stop = match decoder.decompress_vec(packed, &mut text, FlushDecompress::None) {
        Ok(Status::StreamEnd) => Stop::End,
        Ok(_) if text.len() == MAX_TEXT => Stop::Room,
        Ok(_) => Stop::Input,
        Err(_) => Stop::Corrupt,
    };
    Outcome { text, stop, bytes_used: usize::try_from(decoder.total_in()).expect("a small number") }
}

/// Both must come to the same; `what` is told when they do not.
fn check(packed: &[u8], piece_bytes: usize, room_bytes: usize, what: &str) {
    let (own, other) = (decode(packed, piece_bytes, room_bytes), decode_by_flate2(packed));
    let common = own.text.len().min(other.text.len());
    assert!(own.text[..common] == other.text[..common], "{what}: {own:?}, {other:?}");
    match own.stop {
        Stop::End => assert_eq!(own, other, "{what}"),
        // With a few bits more it would see that they are none.
        Stop::Input if other.stop == Stop::Corrupt => {}
        // Once it had room enough.
        Stop::Room => assert!(own.text.len() >= MAX_TEXT && other.text.len() == MAX_TEXT, "{what}"),
        stop => {
            assert_eq!(stop, other.stop, "{what}: {own:?}, {other:?}");
            assert_eq!(own.text.len(), other.text.len(), "{what}: {own:?}, {other:?}");
        }
    }
}

/// Packs a text, with a new block after each `flush` bytes, at least, and an empty stored one before it.
fn pack(text: &[u8], level: u32, flush: usize) -> io::Result<Vec<u8>> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::new(level));
    let mut pieces = text.chunks(flush).peekable();
    while let Some(piece) = pieces.next() {
        packed.write_all(piece)?;
        if pieces.peek().is_some() {
            packed.flush()?;
        }
    }
    packed.finish()
}

/// Texts of few symbols and of many, with matches near and far, short and long.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let piece = (1..=255_u8, proptest::collection::vec(any::<u8>(), 1..300), 1..40_usize).prop_map(
        |(symbols, bytes, times)| bytes.iter().map(|it| it % symbols).collect::<Vec<_>>().repeat(times),
    );
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_comes_back_however_it_is_cut(
        text in texts(), level in 0..10_u32, flush in 1..100_000_usize,
        piece_bytes in 1..3000_usize, room_bytes in 1..3000_usize,
    ) {
        let packed = pack(&text, level, flush)?;
        let more = [&packed[..], b"what comes behind"].concat();
        let outcome = decode(&more, piece_bytes, room_bytes);
        prop_assert_eq!(outcome.stop, Stop::End);
        prop_assert!(outcome.text == text);
        prop_assert_eq!(outcome.bytes_used, packed.len());
    }

    #[test]
    fn what_is_broken_breaks_for_both_decoders(
        text in texts(), level in 0..10_u32, flush in 1..100_000_usize,
        piece_bytes in 1..3000_usize, room_bytes in 1..3000_usize,
        flips in proptest::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..4), cut in any::<bool>(),
    ) {
        let mut packed = pack(&text, level, flush)?;
        for (at, bit) in &flips {
            let at = at.index(packed.len());
            packed[at] ^= 1 << bit;
        }
        if cut {
            packed.truncate(flips[0].0.index(packed.len()));
        }
        check(&packed, piece_bytes, room_bytes, "");
    }
}

#[test]
fn both_decoders_take_the_same_beginnings() {
    // Most are headers of all kinds that are broken somewhere; a few begin blocks with fixed codes.
    let behind = Sample::new(3).text(3);
    for beginning in (0_u32..1 << 24).step_by(97) {
        let packed = [&beginning.to_le_bytes()[..3], &behind].concat();
        check(&packed, usize::MAX, 10_000, &format!("{beginning:#x}"));
    }
}

#[test]
fn a_log_comes_back_from_each_level() -> io::Result<()> {
    let text = Sample::new(5).text(2000);
    for level in 0..10 {
        let packed = pack(&text, level, usize::MAX)?;
        for (piece_bytes, room_bytes) in [(usize::MAX, MAX_TEXT), (100, 65536), (65536, 100), (1, 1)] {
            let outcome = decode(&packed, piece_bytes, room_bytes);
            assert!(outcome.stop == Stop::End && outcome.text == text, "{level}: {outcome:?}");
        }
    }
    Ok(())
}

#[test]
fn a_decoder_begins_at_any_bit() -> io::Result<()> {
    let text = Sample::new(6).text(20);
    let packed = pack(&text, 6, usize::MAX)?;
    for bit in 0..20 {
        // The stream, so many bits later.
        let mut later = vec![0; packed.len() + 4];
        for at in (0..packed.len() * 8).filter(|at| packed[at / 8] >> (at % 8) & 1 == 1) {
            later[(at + bit) / 8] |= 1 << ((at + bit) % 8);
        }
        let mut decoder = Decoder::new();
        let mut input = decoder.begin_at(bit, &later);
        let mut room = vec![0; MAX_TEXT];
        let mut at = 0;
        let stop = loop {
            match decoder.decode(&mut input, &mut room, at) {
                (end, Stop::Block) => at = end,
                (end, stop) => {
                    at = end;
                    break stop;
                }
            }
        };
        assert!(stop == Stop::End && room[..at] == text, "{bit}: {stop:?}");
    }
    Ok(())
}

/// A stream of one block with codes of these lengths, and then these symbols of each, with the bits behind them.
fn pack_symbols(lengths: [&[u8]; 2], symbols: &[(usize, usize, usize, u32)]) -> Vec<u8> {
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
fn the_longest_codes_with_the_most_bits_behind_them_are_read() {
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
    let packed = pack_symbols([&lengths, &distances], &symbols);
    assert_eq!(decode(&packed, usize::MAX, MAX_TEXT).stop, Stop::End);
    check(&packed, usize::MAX, MAX_TEXT, "whole");
    check(&packed, 100, 1000, "in pieces");
}

#[test]
fn a_header_has_an_end_of_its_block_and_no_more_codes_than_there_are_symbols() {
    for (codes, distances, end, stop) in [
        (286, 30, 256, Stop::End),
        (287, 30, 256, Stop::Corrupt),
        (288, 30, 256, Stop::Corrupt),
        (286, 31, 256, Stop::Corrupt),
        (286, 32, 256, Stop::Corrupt),
        (286, 30, 255, Stop::Corrupt),
    ] {
        let mut lengths = vec![0; codes];
        (lengths[97], lengths[end]) = (1, 1);
        let packed = pack_symbols([&lengths, &vec![0; distances]], &[(0, 97, 0, 0), (0, end, 0, 0)]);
        assert_eq!(decode(&packed, usize::MAX, MAX_TEXT).stop, stop, "{codes} {distances} {end}");
        check(&packed, usize::MAX, MAX_TEXT, "header");
    }
}

#[test]
fn a_stored_block_follows_where_more_bits_are_read_than_counted() {
    let mut lengths = vec![0; 257];
    (lengths[97], lengths[98], lengths[256]) = (1, 2, 2);
    for literals in 0..16 {
        // The end is only two bits long. The header of the stored block is the three zeros behind it.
        let symbols = [&vec![(0, 97, 0, 0); literals][..], &[(0, 256, 0, 3)]].concat();
        let mut packed = pack_symbols([&lengths, &[1]], &symbols);
        // It is not the last block.
        packed[0] &= !1;
        packed.extend([20, 0, !20, !0]);
        packed.extend([0xff; 20]);
        // An empty one is, and something comes behind it.
        packed.extend([1, 0, 0, 0xff, 0xff]);
        let outcome = decode(&[&packed[..], &[0xff; 20]].concat(), usize::MAX, MAX_TEXT);
        assert_eq!(outcome.stop, Stop::End, "{literals}");
        assert_eq!(outcome.text, [&vec![97; literals][..], &[0xff; 20]].concat());
        assert_eq!(outcome.bytes_used, packed.len());
    }
}
