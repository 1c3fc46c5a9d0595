//! Any bytes as a deflate stream: the output and the end of it that flate2 finds.

#![no_main]

use flate2::{Decompress, FlushDecompress, Status};
use libfuzzer_sys::fuzz_target;
use memc_gzip::fuzzing;

const MAX_OUTPUT_BYTES: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    let Some((&piece, compressed)) = data.split_first() else { return };
    let decoded = fuzzing::decode(compressed, 1 + usize::from(piece), MAX_OUTPUT_BYTES);
    let mut reference = Decompress::new(false);
    let mut output = Vec::with_capacity(MAX_OUTPUT_BYTES);
    let status = reference.decompress_vec(compressed, &mut output, FlushDecompress::None);
    assert!(decoded.output == output, "{} bytes of output, not {}", decoded.output.len(), output.len());
    if output.len() < MAX_OUTPUT_BYTES {
        let has_ended = matches!(status, Ok(Status::StreamEnd));
        assert_eq!(decoded.stream_bytes.map(|bytes| bytes as u64), has_ended.then(|| reference.total_in()));
        // Where the input ends, either may lack the bits that show what the other one sees already: that they are no
        // code, or that a code for lengths is empty (286 bits and one, then).
        if decoded.is_corrupt && status.is_ok() {
            let more = [compressed, &[0; 40]].concat();
            output.clear();
            let status = Decompress::new(false).decompress_vec(&more, &mut output, FlushDecompress::None);
            assert!(status.is_err());
        }
    }
});
