//! Any bytes as a deflate stream: the text and the end of it that flate2 finds.

#![no_main]

use flate2::{Decompress, FlushDecompress, Status};
use libfuzzer_sys::fuzz_target;
use memc_core::fuzzing;

const MAX_TEXT: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((&piece, packed)) = data.split_first() else { return };
    let decoded = fuzzing::decode(packed, 1 + usize::from(piece), MAX_TEXT);
    let mut reference = Decompress::new(false);
    let mut text = Vec::with_capacity(MAX_TEXT);
    let status = reference.decompress_vec(packed, &mut text, FlushDecompress::None);
    assert!(decoded.text == text, "{} bytes of text, not {}", decoded.text.len(), text.len());
    if text.len() < MAX_TEXT {
        let has_ended = matches!(status, Ok(Status::StreamEnd));
        assert_eq!(decoded.stream_bytes.map(|bytes| bytes as u64), has_ended.then(|| reference.total_in()));
        // Where the input ends, either may miss bits with which it would see what the other one sees already: that
        // they are none, or that a code for lengths is empty (286 bits and one, then).
        if decoded.is_corrupt && status.is_ok() {
            let more = [packed, &[0; 40]].concat();
            text.clear();
            let status = Decompress::new(false).decompress_vec(&more, &mut text, FlushDecompress::None);
            assert!(status.is_err());
        }
    }
});
