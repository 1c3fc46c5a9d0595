//! The threads of a load are its own, and one that does not start, or cannot be used, is an error.

use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use memc_core::apps::AppsEncoder;
use memc_core::{Address, Encode, Error, Input, Loader, Options, Record, RejectReason};
use memc_testkit::Memcached;
use rayon::iter::{IntoParallelIterator, ParallelIterator};

use crate::{Result, ignore, input, small_chunks};

/// An input that comes when it is sent.
struct Sent(mpsc::Receiver<&'static [u8]>, &'static [u8]);

impl std::io::Read for Sent {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.1.is_empty() {
            self.1 = self.0.recv().unwrap_or_default();
        }
        self.1.read(buffer)
    }
}

/// In the global pool, and in one that the load is called from.
#[test]
fn other_work_does_not_wait_for_a_slow_input() -> Result {
    let server = Memcached::start(&[])?;
    let loader = Loader::new(
        AppsEncoder::new(["idfa"]),
        vec![server.address().parse::<Address>()?],
        Options::default(),
    );
    let (source, sent) = mpsc::channel();
    let callers = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let sum = || (0..1000).into_par_iter().sum::<u32>();
    let (loaded, result) = mpsc::channel();
    let (callers, loader) = (&callers, &loader);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let report = callers.install(|| loader.load([Input::reader("slow", Sent(sent, b""))], ignore));
            loaded.send(report.map(|report| report.counts.loaded)).expect("it is waited for");
        });
        let (summed, sums) = mpsc::channel();
        // Detached from the load: should one wait for the other, the receiver does not.
        scope.spawn(move || summed.send(sum() + callers.install(sum)));
        let sums = sums.recv_timeout(Duration::from_secs(10));
        let is_waiting = result.try_recv().is_err();
        source.send(b"idfa\tx\t1\t2\t3\n").expect("it is read");
        drop(source);
        assert_eq!(sums, Ok(2 * 499_500));
        assert!(is_waiting, "the load has waited for its input");
    });
    assert_eq!(result.recv()?.map_err(|error| error.to_string()), Ok(1));
    Ok(())
}

/// Knows the pool that it works in by the names of its threads.
#[derive(Clone)]
struct Named;

impl Encode for Named {
    fn encode(&mut self, _: &[u8], record: &mut Record) -> std::result::Result<Option<usize>, RejectReason> {
        record.key.extend_from_slice(std::thread::current().name().unwrap_or("unnamed").as_bytes());
        Ok(Some(0))
    }
}

#[test]
fn the_pool_is_the_loader_s_own_or_one_that_it_was_given() -> Result {
    let mut options = small_chunks(10);
    options.threads = 1;
    let names = |loader: &Loader<Named>| -> Result<Vec<String>> {
        let mut names = Vec::new();
        let show =
            |record: memc_core::DryRecord<'_>| names.push(String::from_utf8_lossy(record.key).into_owned());
        loader.dry_run([input("text", "one\ntwo\n")], show, ignore)?;
        Ok(names)
    };
    let loader = Loader::new(Named, vec!["127.0.0.1:1".parse::<Address>()?], options);
    assert_eq!(names(&loader)?, ["encode-0", "encode-0"]);
    let given = rayon::ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "given".to_owned()).build()?;
    assert_eq!(names(&loader.with_pool(Arc::new(given)))?, ["given", "given"]);
    Ok(())
}

#[test]
fn what_no_load_can_work_with_is_an_error_before_anything_is_read() -> Result {
    let server = Memcached::start(&[])?;
    let open = || -> std::io::Result<&[u8]> { unreachable!("it is not opened") };
    let mut options = Options::default();
    options.connections = 0;
    for (servers, options, wrong) in [
        (vec![], Options::default(), "groups"),
        (vec![server.address().parse::<Address>()?], options, "connections"),
    ] {
        let loader = Loader::new(AppsEncoder::new(["idfa"]), servers, options);
        let errors = [
            loader.load([Input::reopenable("input", open)], ignore).map(drop).map_err(|it| it.error),
            loader
                .dry_run([Input::reopenable("input", open)], |_| (), ignore)
                .map(drop)
                .map_err(|it| it.error),
            loader.check().map(drop),
        ];
        for error in errors {
            assert!(
                matches!(error, Err(Error::InvalidOptions { option, .. }) if option == wrong),
                "{error:?}"
            );
        }
    }
    Ok(())
}

#[test]
fn a_group_index_out_of_range_is_an_error_and_no_reject() -> Result {
    #[derive(Clone)]
    struct Third;
    impl Encode for Third {
        fn encode(
            &mut self,
            _: &[u8],
            record: &mut Record,
        ) -> std::result::Result<Option<usize>, RejectReason> {
            record.key.push(b'k');
            Ok(Some(2))
        }
    }
    let server = Memcached::start(&[])?;
    for connections in [1, 3] {
        let mut options = small_chunks(10);
        options.connections = connections;
        let loader = Loader::new(Third, vec![server.address().parse::<Address>()?; 2], options);
        let stopped = loader.load([input("text", "one\ntwo\n")], ignore).err().ok_or("it must stop")?;
        let expected = "the encoder chose group 2 for a record, but there are only 2, counted from 0";
        assert_eq!(stopped.to_string(), expected);
        assert_eq!(stopped.report.inputs, 0);
    }
    Ok(())
}

#[test]
fn a_check_asks_every_server() -> Result {
    let server = Memcached::start(&["-m", "64"])?;
    let mut away = Memcached::start(&[])?;
    away.kill()?;
    let addresses = vec![server.address().parse::<Address>()?, away.address().parse::<Address>()?];
    let loader = Loader::new(AppsEncoder::new(["idfa", "gaid"]), addresses, Options::default());
    loader.load([input("text", "idfa\tx\t1\t2\t3\n")], ignore)?;
    let checks = loader.check()?;
    let [up, down] = &checks[..] else { return Err("one for each".into()) };
    assert_eq!((&up.address, &down.address), (&server.address(), &away.address()));
    let status = up.result.as_ref().map_err(ToString::to_string)?;
    assert_eq!((status.records, status.memory_limit_bytes, status.evictions), (1, Some(64 << 20), 0));
    assert!(status.version.starts_with("1.") && status.bytes_used > 0, "{status:?}");
    let error = down.result.as_ref().err().map(std::io::Error::kind);
    assert_eq!(error, Some(std::io::ErrorKind::ConnectionRefused));
    Ok(())
}
