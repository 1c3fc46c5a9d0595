//! The dry run's kind of lane: the batches of all servers are shown in the order of their lines, and nothing is sent.

use crate::order::tally::Tally;
use crate::route::Routes;
use crate::send::lane::Lane;
use crate::wire::batch::{Batch, Stored};

/// A record as a dry run shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DryRecord<'a> {
    /// The index that the encoder returned: that of a group given to [`Loader::new`](crate::Loader::new).
    pub group: usize,
    /// The index of its server among those of the group.
    pub server: usize,
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// Shows every record of the lanes, one for each group; then it counts as acknowledged.
pub(crate) fn show(lanes: &[Lane<'_>], routes: &Routes, on_record: &mut impl FnMut(DryRecord<'_>)) {
    for number in 0.. {
        let batches: Option<Vec<_>> = lanes.iter().map(|lane| lane.turns.take()).collect();
        let Some(batches) = batches else { return };
        show_in_order(&batches, routes, on_record);
        for (lane, batch) in lanes.iter().zip(batches) {
            let mut tally = Tally::default();
            tally.counts.loaded = batch.len() as u64;
            lane.ledger.report(number, tally);
            lane.spares.give(batch);
        }
    }
}

/// Shows the records of one chunk. No line has more than one.
fn show_in_order(batches: &[Batch], routes: &Routes, on_record: &mut impl FnMut(DryRecord<'_>)) {
    let mut records: Vec<_> = batches.iter().map(Batch::iter).collect();
    let mut next: Vec<_> = records.iter_mut().map(Iterator::next).collect();
    let line = |record: &Option<Stored<'_>>| record.map_or(u64::MAX, |record| record.line.into());
    let mut lines: Vec<u64> = next.iter().map(line).collect();
    loop {
        let (mut group, mut lowest) = (0, u64::MAX);
        for (index, line) in lines.iter().enumerate() {
            if *line < lowest {
                (group, lowest) = (index, *line);
            }
        }
        let Some(Stored { key, value, .. }) = next[group] else { return };
        on_record(DryRecord { group, server: routes.server_of_group(group, key), key, value });
        next[group] = records[group].next();
        lines[group] = line(&next[group]);
    }
}
