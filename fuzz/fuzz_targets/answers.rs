//! Any bytes as a server's answers in either protocol: no panic, bounded memory, and the same answers however they are cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use memc_core::Protocol;
use memc_core::fuzzing::{self, Answers};

/// What the reader takes as one answer, and what an answer kept for the log can grow to when it is escaped.
const MAX_ANSWER_BYTES: usize = 2048;
const MAX_KEPT_BYTES: usize = 4 * 120;

fuzz_target!(|data: &[u8]| {
    let Some((&[first, second, a, b, c], bytes)) = data.split_first_chunk() else { return };
    for protocol in [Protocol::Meta, Protocol::Classic] {
        // No classic batch is empty.
        let least = usize::from(protocol == Protocol::Classic);
        let batches = [a, b, c].map(|records| usize::from(records).max(least));
        let whole = fuzzing::answers([bytes], batches, protocol);
        for other in [
            fuzzing::answers(bytes.chunks(1), batches, protocol),
            fuzzing::answers(cut(bytes, [first, second]), batches, protocol),
        ] {
            check(&other, bytes, batches);
            assert!(other == whole, "{other:?} but in one piece {whole:?}");
        }
        check(&whole, bytes, batches);
    }
});

fn check(answers: &Answers, bytes: &[u8], batches: [usize; 3]) {
    assert!(answers.closed.len() <= batches.len(), "more batches than were sent");
    for ((count, refusals), records) in answers.closed.iter().zip(batches) {
        assert!(*count <= records && refusals.len() <= *count, "more answers than records");
        assert!(refusals.iter().all(|(at, text)| at < count && text.len() <= MAX_KEPT_BYTES), "a long text is kept");
    }
    if answers.error.is_none() {
        let unfinished = bytes.rsplit(|&byte| byte == b'\n').next().map_or(0, <[u8]>::len);
        assert!(unfinished <= MAX_ANSWER_BYTES, "{unfinished} bytes are kept of an answer without end");
    }
}

/// Pieces of these sizes, plus one each so that none is empty, taken in turn.
fn cut(mut bytes: &[u8], mut sizes: [u8; 2]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        sizes.rotate_left(1);
        let length = bytes.len().min(1 + usize::from(sizes[0]));
        (length > 0).then(|| bytes.split_off(..length).unwrap_or_default())
    })
}
