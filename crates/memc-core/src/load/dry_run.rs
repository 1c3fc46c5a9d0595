//! The dry run's kind of lane: the batches of all servers are shown in the order of their lines, and nothing is sent.

use crate::order::tally::Tally;
use crate::route::Routes;
use crate::send::lane::Lane;
use crate::wire::batch::Stored;
use crate::wire::bundle::Bundle;

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

/// Shows every record of the lanes, one for each group; then it counts as acknowledged. Returns how many records each
/// server would have been sent.
pub(crate) fn show(
    lanes: &[Lane<'_>],
    routes: &Routes,
    on_record: &mut impl FnMut(DryRecord<'_>),
) -> Vec<u64> {
    let mut records = vec![0; routes.servers().len()];
    for number in 0.. {
        let batches: Option<Vec<_>> = lanes.iter().map(|lane| lane.turns.take()).collect();
        let Some(batches) = batches else { break };
        for_each_in_order(&batches, |group, Stored { key, value, .. }| {
            let Some((server, of_all)) = routes.server(group, key) else { return };
            records[of_all] += 1;
            on_record(DryRecord { group, server, key, value });
        });
        for (lane, batch) in lanes.iter().zip(batches) {
            let mut tally = Tally::default();
            tally.counts.loaded = batch.len() as u64;
            lane.ledger.report(number, tally);
            batch.into_batches().into_iter().for_each(|batch| lane.spares.give(batch));
        }
    }
    records
}

/// Visits the records of one chunk, each with the index of its batch. No line has more than one.
fn for_each_in_order(batches: &[Bundle], mut visit: impl FnMut(usize, Stored<'_>)) {
    let mut records: Vec<_> = batches.iter().map(Bundle::iter).collect();
    let mut next: Vec<_> = records.iter_mut().map(Iterator::next).collect();
    let line = |record: &Option<Stored<'_>>| record.map_or(u64::MAX, |record| record.line.into());
    let mut lines: Vec<u64> = next.iter().map(line).collect();
    loop {
        let (mut first, mut lowest) = (0, u64::MAX);
        for (index, line) in lines.iter().enumerate() {
            if *line < lowest {
                (first, lowest) = (index, *line);
            }
        }
        let Some(record) = next[first] else { return };
        visit(first, record);
        next[first] = records[first].next();
        lines[first] = line(&next[first]);
    }
}
