//! Two machines: network namespaces with a cable between them, which is pulled out while both load.

use std::process::{self, Command};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use memc_testkit::{DEVICE_TYPES, Memcached, Sample};

use crate::machines::{MARGIN, finish};
use crate::run::skip;
use crate::watched::Watched;
use crate::workdir::{Workdir, model, same};

/// A second machine, as a network namespace; both go when this is dropped, the cable with it.
struct Machine {
    name: String,
    /// Its end of the cable.
    cable: String,
    /// The addresses of this machine and of that one, of a range that no network uses (RFC 2544).
    addresses: [String; 2],
}

impl Machine {
    /// A machine with a cable to this one.
    fn start() -> Result<Self> {
        let id = process::id();
        let (name, cable, here) = (format!("memc{id}"), format!("mt{id}"), format!("mh{id}"));
        let addresses = [1, 2].map(|end| format!("198.18.{}.{end}", id % 256));
        ip(&["netns", "add", &name])?;
        let machine = Self { name, cable, addresses };
        let Self { name, cable, addresses: [ours, theirs] } = &machine;
        ip(&["link", "add", &here, "type", "veth", "peer", "name", cable, "netns", name])?;
        ip(&["addr", "add", &format!("{ours}/30"), "dev", &here])?;
        ip(&["link", "set", &here, "up"])?;
        ip(&["-n", name, "addr", "add", &format!("{theirs}/30"), "dev", cable])?;
        machine.plug("up")?;
        Ok(machine)
    }

    /// Plugs the cable in (`up`) or pulls it out (`down`).
    fn plug(&self, state: &str) -> Result<()> {
        ip(&["-n", &self.name, "link", "set", &self.cable, state])
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // One that stays is seen in `ip netns`; the test has said more by then.
        let _ = ip(&["netns", "delete", &self.name]);
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output()?;
    ensure!(output.status.success(), "ip {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn a_network_that_breaks_ends_both_in_time_and_the_next_run_finishes() -> Result<()> {
    let machine = match Machine::start() {
        Ok(machine) => machine,
        Err(error) => return skip(&format!("no network namespaces: {error}")),
    };
    let [ours, theirs] = &machine.addresses;
    let work = Workdir::new()?;
    let mut sample = Sample::new(1).with(0.3, 0.0);
    let texts = [sample.text(1000), sample.text(1000)];
    // Its server, one of the first process's, holds up the first file while it is away.
    work.gzip("1.tsv.gz", [b"imei\ta\t1\t2\t3\n", &texts[0][..]].concat())?;
    work.gzip("2.tsv.gz", &texts[1])?;
    let mut servers = Vec::new();
    for port in 11001..=11005 {
        servers.push(Memcached::start_at(format!("{ours}:{port}"))?);
    }
    work.write("hosts/hosts.txt", format!("{ours}:7100\n{theirs}:7100\n"))?;
    let hosts = work.name("hosts/hosts.txt");
    let mut options = vec!["--hosts".to_owned(), hosts, "--timeout".to_owned(), "2s".to_owned()];
    for (device_type, server) in DEVICE_TYPES.iter().zip(&servers) {
        options.extend([format!("--{device_type}"), server.address()]);
    }
    options.extend(["--route".to_owned(), format!("imei={}", servers[4].address())]);
    let options: Vec<_> = options.iter().map(String::as_str).collect();
    let start = || -> Result<_> {
        let first = Watched::start(&work, &[&options[..], &["--process", "0"]].concat())?;
        let there = format!("exec ip netns exec {}", machine.name);
        let second = work.start_after(&there, &[&options[..], &["--process", "1"]].concat())?;
        Ok((first, second))
    };

    servers[4].kill()?;
    let (first, second) = start()?;
    // The second process has stored records over the cable, and the first one knows.
    first.wait_for("records of gaid", |status| status["servers"][1]["records"].as_u64() > Some(0))?;
    let pulled = Instant::now();
    machine.plug("down")?;
    let runs = finish(&work, vec![first.running, second])?;
    for (run, other) in runs.iter().zip([1, 0]) {
        run.exits(1)?;
        let who = format!("process {other} ({}:7100): ", machine.addresses[other]);
        run.fails_with(&[&who, "no sign of life for 2.0 s: it hangs, or the network is broken"])?;
    }
    ensure!(pulled.elapsed() < Duration::from_secs(2) + MARGIN, "{:?}", pulled.elapsed());
    runs[0].leaves(&["1.tsv.gz", "2.tsv.gz", "hosts/hosts.txt"])?;

    // Of the second process's connections the end was lost with the network, so servers would have them for hours.
    machine.plug("up")?;
    servers[4].restart()?;
    let (first, second) = start()?;
    finish(&work, vec![first.running, second])?.iter().try_for_each(|run| run.exits(0))?;
    let expected = model(&texts);
    for (device_type, server) in DEVICE_TYPES.iter().zip(&servers) {
        same(&server.contents()?, &expected.servers[*device_type])?;
    }
    ensure!(servers[4].contents()?.len() == 1);
    Ok(())
}
