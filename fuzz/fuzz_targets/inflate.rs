//! Any bytes, gzip or not, inflated by several threads: the text, or the kind of error, of one thread.

#![no_main]

use libfuzzer_sys::fuzz_target;
use memc_core::fuzzing;

fuzz_target!(|data: &[u8]| {
    let Some((&[threads, segment], packed)) = data.split_first_chunk() else { return };
    let (text, error) = fuzzing::inflate(packed.to_vec(), 1, 1);
    let threads = 2 + usize::from(threads % 3);
    let (split_text, split_error) = fuzzing::inflate(packed.to_vec(), threads, 16 + 8 * usize::from(segment));
    assert_eq!(split_error, error);
    // What is told of a broken text may end earlier or later.
    let common =
        if error.is_some() { text.len().min(split_text.len()) } else { text.len().max(split_text.len()) };
    assert!(text.get(..common) == split_text.get(..common), "other text");
});
