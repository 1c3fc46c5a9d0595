//! How far a running load is, and how its servers are doing, for whoever shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Address;

/// How far a load is; reading it costs the load nothing.
///
/// It moves with every chunk that is finished, that is, acknowledged in all its records and all before it.
/// When a server was restarted it falls back to the end of the last finished file.
///
/// ```
/// use memc_core::apps::AppsEncoder;
/// use memc_core::{Address, Input, Loader, Options};
///
/// let server: Address = "127.0.0.1:33013".parse()?;
/// let loader = Loader::new(AppsEncoder::new(["idfa"]), [server], Options::default());
/// let progress = loader.progress_handle();
/// let log: &[u8] = b"idfa\te7e1\t67.5\t-22.8\t7942\n";
/// loader.dry_run([Input::reader("sample", log)], |_| (), |_| Ok(()))?;
/// assert_eq!((progress.bytes_in(), progress.records()), (log.len() as u64, 1));
/// // Nothing was sent to it.
/// assert_eq!(progress.servers()[0].records, 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ProgressHandle(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    bytes_in: AtomicU64,
    records: AtomicU64,
    servers: Vec<Arc<ServerCounters>>,
}

/// How one server is doing. Its counts are of all loads of the loader, inputs that are not finished included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ServerProgress {
    /// Its address.
    pub address: String,
    /// Records that it acknowledged.
    pub records: u64,
    /// How many times a connection that broke, or could not be made, was tried again.
    pub retries: u64,
    /// Bytes of commands that were sent to it and are not acknowledged.
    pub bytes_in_flight: u64,
    /// How long its acknowledgments took.
    pub round_trips: RoundTrips,
}

/// A histogram of times from the end of the writing of a batch to its acknowledgment. A batch has the records of one chunk
/// for one connection; those before it that are not acknowledged yet take a part of its time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RoundTrips {
    counts: [u64; RoundTrips::BOUNDS.len() + 1],
    total: Duration,
}

impl RoundTrips {
    /// Up to which time, included, each count goes; the last count, behind these, is of all longer ones.
    pub const BOUNDS: [Duration; 12] = [
        Duration::from_millis(1),
        Duration::from_micros(2500),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(25),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(250),
        Duration::from_millis(500),
        Duration::from_secs(1),
        Duration::from_millis(2500),
        Duration::from_secs(10),
    ];

    /// How many there were, by their [`BOUNDS`](Self::BOUNDS): each one counts once.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The times added up.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.total
    }
}

/// What the connections to a server count while they work.
#[derive(Debug, Default)]
pub(crate) struct ServerCounters {
    address: String,
    records: AtomicU64,
    retries: AtomicU64,
    bytes_in_flight: AtomicU64,
    round_trips: [AtomicU64; RoundTrips::BOUNDS.len() + 1],
    round_trip_nanos: AtomicU64,
}

impl ProgressHandle {
    /// That of a loader with these servers.
    pub(crate) fn of(servers: &[Address]) -> Self {
        let counters = |address: &Address| {
            Arc::new(ServerCounters { address: address.to_string(), ..ServerCounters::default() })
        };
        Self(Arc::new(Counters { servers: servers.iter().map(counters).collect(), ..Counters::default() }))
    }

    /// Bytes read from the inputs for finished chunks, compressed if the input is gzip.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.0.bytes_in.load(Ordering::Relaxed)
    }

    /// Records that their server has acknowledged.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.0.records.load(Ordering::Relaxed)
    }

    /// The servers, each once, in the order of [`RunReport::servers`](crate::RunReport::servers).
    #[must_use]
    pub fn servers(&self) -> Vec<ServerProgress> {
        self.0.servers.iter().map(|server| server.now()).collect()
    }

    /// Takes over how a server is doing from the process that it is served by, where several load together. A server that
    /// is none of the loader's is left out.
    pub fn set_server(&self, server: &ServerProgress) {
        if let Some(counters) = self.0.servers.iter().find(|it| it.address == server.address) {
            counters.set(server);
        }
    }

    pub(crate) fn set(&self, bytes_in: u64, records: u64) {
        self.0.bytes_in.store(bytes_in, Ordering::Relaxed);
        self.0.records.store(records, Ordering::Relaxed);
    }

    /// A chunk more is finished.
    pub(crate) fn add(&self, bytes_in: u64, records: u64) {
        self.0.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        self.0.records.fetch_add(records, Ordering::Relaxed);
    }

    /// The counters of one of the servers that it was made with.
    pub(crate) fn of_server(&self, server: usize) -> Arc<ServerCounters> {
        self.0.servers.get(server).map(Arc::clone).unwrap_or_default()
    }
}

impl ServerCounters {
    fn now(&self) -> ServerProgress {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        ServerProgress {
            address: self.address.clone(),
            records: load(&self.records),
            retries: load(&self.retries),
            bytes_in_flight: load(&self.bytes_in_flight),
            round_trips: RoundTrips {
                counts: self.round_trips.each_ref().map(load),
                total: Duration::from_nanos(load(&self.round_trip_nanos)),
            },
        }
    }

    fn set(&self, now: &ServerProgress) {
        let ServerProgress { address: _, records, retries, bytes_in_flight, round_trips } = now;
        let store = |count: &AtomicU64, value: u64| count.store(value, Ordering::Relaxed);
        store(&self.records, *records);
        store(&self.retries, *retries);
        store(&self.bytes_in_flight, *bytes_in_flight);
        self.round_trips.iter().zip(round_trips.counts).for_each(|(count, value)| store(count, value));
        store(&self.round_trip_nanos, nanos(round_trips.total));
    }

    /// A batch with this number of `records` is acknowledged, `round_trip` after it was written.
    pub(crate) fn add_batch(&self, records: u64, round_trip: Option<Duration>) {
        self.records.fetch_add(records, Ordering::Relaxed);
        if let Some(time) = round_trip {
            self.round_trip_nanos.fetch_add(nanos(time), Ordering::Relaxed);
            let bucket = RoundTrips::BOUNDS.partition_point(|bound| *bound < time);
            self.round_trips[bucket].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A connection is tried again.
    pub(crate) fn add_retry(&self) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }

    /// One of the connections has `now` bytes in flight, and had `before` when it was asked last.
    pub(crate) fn change_bytes_in_flight(&self, before: u64, now: u64) {
        self.bytes_in_flight.fetch_add(now, Ordering::Relaxed);
        self.bytes_in_flight.fetch_sub(before, Ordering::Relaxed);
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_counts_once_up_to_its_bound() {
        let counters = ServerCounters::default();
        let times = [0, 1000, 1001, 2500, 9_999_000, 10_000_001].map(Duration::from_micros);
        times.iter().for_each(|&time| counters.add_batch(2, Some(time)));
        counters.add_batch(3, None);
        counters.change_bytes_in_flight(0, 7);
        counters.change_bytes_in_flight(0, 5);
        counters.change_bytes_in_flight(7, 1);
        let now = counters.now();
        assert_eq!((now.records, now.bytes_in_flight), (15, 6));
        assert_eq!(now.round_trips.counts(), [2, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!(now.round_trips.total(), times.iter().sum());

        let elsewhere = ProgressHandle(Arc::new(Counters {
            servers: vec![Arc::default(), Arc::default()],
            ..Counters::default()
        }));
        elsewhere.set_server(&now);
        assert_eq!(elsewhere.servers(), [now.clone(), ServerProgress::default()]);
        elsewhere
            .set_server(&ServerProgress { address: "none of them".to_owned(), ..ServerProgress::default() });
        assert_eq!(elsewhere.servers()[0], now);
    }
}
