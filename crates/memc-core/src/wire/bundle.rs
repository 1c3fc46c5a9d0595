//! Batches that follow each other on one connection and are acknowledged together.

use crate::buffers::BufferPool;
use crate::wire::batch::{Batch, Stored};
use crate::wire::protocol::Protocol;

/// At least one batch. Of meta sets only the last one is closed by the no-op, so the server answers once for all of them.
#[derive(Debug)]
pub(crate) struct Bundle {
    batches: Vec<Batch>,
}

impl Bundle {
    /// One of a closed batch.
    pub(crate) fn new(batch: Batch) -> Self {
        Self { batches: vec![batch] }
    }

    /// Adds a closed batch.
    pub(crate) fn push(&mut self, batch: Batch) {
        if let Some(last) = self.batches.last_mut() {
            last.reopen();
        }
        self.batches.push(batch);
    }

    pub(crate) fn batches(&self) -> &[Batch] {
        &self.batches
    }

    pub(crate) fn into_batches(self) -> Vec<Batch> {
        self.batches
    }

    /// How many records it has.
    pub(crate) fn len(&self) -> usize {
        self.batches.iter().map(Batch::len).sum()
    }

    /// Whether it has no record.
    pub(crate) fn is_empty(&self) -> bool {
        self.batches.iter().all(Batch::is_empty)
    }

    /// Whether the last chunk of an input is in it.
    pub(crate) fn ends_input(&self) -> bool {
        self.batches.iter().any(|batch| batch.ends_input)
    }

    /// The size of its commands.
    pub(crate) fn bytes(&self) -> usize {
        self.batches.iter().map(|batch| batch.as_bytes().len()).sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Stored<'_>> {
        self.batches.iter().flat_map(Batch::iter)
    }

    /// Writes those batches that are for another protocol for this one.
    pub(crate) fn translate(&mut self, protocol: Protocol, spares: &BufferPool<Batch>) {
        let last = self.batches.len() - 1;
        for (at, batch) in self.batches.iter_mut().enumerate().filter(|(_, it)| it.protocol() != protocol) {
            let mut translated = spares.take();
            batch.translate(protocol, &mut translated);
            if at < last {
                translated.reopen();
            }
            spares.give(std::mem::replace(batch, translated));
        }
    }

    /// All of its sets in one batch, in the form in which each one is answered.
    pub(crate) fn non_quiet(&self) -> Batch {
        Batch::non_quiet(self.bytes(), self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::attributes::Attributes;

    fn batch(keys: &[&str]) -> Batch {
        let mut batch = Batch::default();
        keys.iter().for_each(|key| batch.push(0, key.as_bytes(), b"v", Attributes::default()));
        batch.close();
        batch
    }

    fn bundle(batches: &[&[&str]]) -> Bundle {
        let mut bundle = Bundle::new(batch(batches[0]));
        batches[1..].iter().for_each(|keys| bundle.push(batch(keys)));
        bundle
    }

    fn text(batches: &[Batch]) -> String {
        let bytes: Vec<u8> = batches.iter().flat_map(Batch::as_bytes).copied().collect();
        bytes.escape_ascii().to_string().replace("\\r\\n", "|")
    }

    #[test]
    fn one_no_op_closes_all_batches() {
        let mut several = bundle(&[&["a", "b"], &[], &["c"], &[]]);
        let quiet = "ms a 1 q|v|ms b 1 q|v|ms c 1 q|v|mn|";
        assert_eq!(text(several.batches()), quiet);
        assert_eq!((several.len(), several.bytes(), several.is_empty()), (3, quiet.len() - 7 + 14, false));
        assert_eq!(text(&[several.non_quiet()]), "ms a 1|v|ms b 1|v|ms c 1|v|mn|");
        let spares = BufferPool::new(1 << 20);
        several.translate(Protocol::Classic, &spares);
        assert_eq!(text(several.batches()), "set a 0 0 1|v|set b 0 0 1|v|set c 0 0 1|v|");
        several.translate(Protocol::Meta, &spares);
        assert_eq!(text(several.batches()), quiet, "there and back");
        assert_eq!(several.into_batches().len(), 4);
        assert!(bundle(&[&[], &[]]).is_empty());
    }
}
