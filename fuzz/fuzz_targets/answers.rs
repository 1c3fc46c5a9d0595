//! Any bytes as a server's answers: no panic, bounded memory, and the same answers however they are cut.

#![no_main]

use libfuzzer_sys::fuzz_target;
use memc_core::fuzzing::{self, Answers};

/// What the reader takes as one answer, and what an answer kept for the log can grow to when it is escaped.
const MAX_ANSWER_BYTES: usize = 2048;
const MAX_KEPT_BYTES: usize = 4 * 120;

fuzz_target!(|data: &[u8]| {
    let Some((&[first, second, a, b, c], bytes)) = data.split_first_chunk() else { return };
    let batches = [a, b, c].map(usize::from);
    let whole = fuzzing::answers([bytes], batches);
    for other in
        [fuzzing::answers(bytes.chunks(1), batches), fuzzing::answers(cut(bytes, [first, second]), batches)]
    {
        check(&other, bytes, batches);
        assert!(other == whole, "{other:?} but in one piece {whole:?}");
    }
    check(&whole, bytes, batches);
});

fn check(answers: &Answers, bytes: &[u8], batches: [usize; 3]) {
    assert!(answers.closed.len() <= batches.len(), "more batches than were sent");
    for (batch, records) in answers.closed.iter().zip(batches) {
        assert!(batch.len() <= records, "more answers than records");
        assert!(batch.iter().flatten().all(|text| text.len() <= MAX_KEPT_BYTES), "a long text is kept");
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
