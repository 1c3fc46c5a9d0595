//! What the progress handle says of each server.

use std::time::Duration;

use memc_core::apps::AppsEncoder;
use memc_core::{Loader, RunReport, ServerReport};
use memc_testkit::Sample;

use crate::{Result, Servers, ignore, input, small_chunks};

/// Checks that each server is as its report says, with nothing in flight and a round trip for each batch.
fn assert_same(loader: &Loader<AppsEncoder>, reports: &[&RunReport]) {
    for (at, server) in loader.progress_handle().servers().iter().enumerate() {
        let of = |value: fn(&ServerReport) -> u64| reports.iter().map(|it| value(&it.servers[at])).sum();
        assert_eq!(server.address, reports[0].servers[at].address);
        assert_eq!(
            (server.records, server.retries),
            (of(|it| it.records), of(|it| it.retries)),
            "{server:?}"
        );
        assert_eq!(server.bytes_in_flight, 0, "{server:?}");
        let (count, batches) = (server.round_trips.counts().iter().sum::<u64>(), of(|it| it.batches));
        assert_eq!(
            (count, server.round_trips.total() > Duration::ZERO),
            (batches, batches > 0),
            "{server:?}"
        );
    }
}

#[test]
fn each_server_is_as_the_reports_of_all_loads_say() -> Result {
    let servers = Servers::start(&[])?;
    let loader = servers.loader(small_chunks(4096))?;
    let text = Sample::new(3).text(3000);
    let first = loader.load([input("1", text.clone())], ignore)?;
    assert_eq!(first.servers.iter().map(|server| server.records).sum::<u64>(), 3000);
    assert!(first.servers[0].batches > 10 && first.servers[0].memory_used_bytes > Some(0), "{first:?}");
    assert_same(&loader, &[&first]);
    let second = loader.load([input("2", text)], ignore)?;
    assert_same(&loader, &[&first, &second]);
    Ok(())
}
