//! The texts of the command line that are longer than a sentence: the end of help and of the manual page.

/// What help shows as usage.
pub(super) const USAGE: &str = "\
memc-load [OPTIONS] [FILE]...
       memc-load [OPTIONS] check [FILE]...
       memc-load [OPTIONS] get <KEY>...
       memc-load [OPTIONS] verify <FILE>...
       memc-load top [URL]";

/// What `--help` says of the first server.
pub(super) const LONG_HELP_ON_SERVERS: &str = "\
Server for idfa records: [tls:][user:password@]host:port, [v6]:port or unix:/path; or a list

A list has commas between its servers; host:port:WEIGHT gives one a weight, a word behind a space a name: \
'10.0.0.1:11211:2 alpha,10.0.0.2:11211'. Readers hash each key to one of them: see --distribution.

With tls: the certificate is checked against the system's authorities, or those in SSL_CERT_FILE. A password \
is better given in the variable MEMC_LOAD_IDFA than here, where every user of the machine can see it.";

/// What `--help` says of `--listen`.
pub(super) const LONG_HELP_ON_LISTEN: &str = "\
Show how the load is doing on a page of this address, with metrics for Prometheus

Such as 127.0.0.1:9119, [::1]:9119 or unix:/run/memc-load/http. There are / (the page), /metrics, /healthz, /readyz \
and /status.json; docs/monitoring.md describes them, and memc-load top shows the same in a terminal. There is no \
login, so an address that other machines can reach gets a warning.";

/// The end of `--help` and of the manual page: headings with lines that stay as they are.
pub(super) const SECTIONS: [(&str, &str); 3] = [
    (
        "Environment",
        "\
Every option can also be given as a variable: MEMC_LOAD_ and its name in
capitals, with _ for -, such as MEMC_LOAD_RETRY_FOR=1m or MEMC_LOAD_DRY=yes.
The command line wins: --dry, or a FILE, switches MEMC_LOAD_FOLLOW=yes off.
MEMC_LOAD_CLUSTER_SECRET, the same everywhere, keeps others out of --hosts.
",
    ),
    (
        "Exit status",
        "\
0    all is done
1    the run stopped early: the log says where and why; fix that, run again
2    wrong usage
3    all is done, but a file is over the error rate or in quarantine, a server
     has lost or evicted records or cannot be asked any more, or the log, the
     report or the metrics could not be written
130  stopped by SIGINT (Ctrl-C); run again to go on
143  stopped by SIGTERM; run again to go on

check: 0, or 1 if a load would fail. get: 1 if a record is missing. verify: 0 if
all records are the same, 3 if some differ or are missing, 1 if it stopped early.
",
    ),
    (
        "Examples",
        "\
Load what has come, with the four servers on the usual ports of this machine:
  memc-load

See what would be stored; no server is needed:
  memc-load --dry --pattern '/data/appsinstalled/20170929*.tsv.gz' 2>&1 | less

Servers on other machines, one of them with a password, and a fifth type:
  export MEMC_LOAD_GAID=loader:secret@cache2:11211
  memc-load --idfa cache1:11211 --route imei=tls:cache3:11211

A fleet that php-memcached reads in its compatible mode, and where it looks for a key:
  memc-load --idfa 10.0.0.1:11211,10.0.0.2:11211:2 --distribution ketama
  memc-load --idfa 10.0.0.1:11211,10.0.0.2:11211:2 get idfa:e7e1

Load every file that comes, until it is stopped:
  memc-load --follow

Look whether all is well before the first load, and that it was well after it:
  memc-load check
  memc-load verify /data/appsinstalled/.*.tsv.gz

Watch it: a page on port 9119 of this machine, or the same in the terminal:
  memc-load --follow --listen 127.0.0.1:9119
  memc-load top

From cron, watched by Prometheus:
  memc-load --log /var/log/memc-load.log \\
      --metrics /var/lib/prometheus/node-exporter/memc_load.prom

A backlog, four files at once; the same with two machines, each with its number:
  memc-load --workers 4
  memc-load --workers 4 --hosts hosts.txt --process 0

Keep the rejected lines of a file that has too many, and count them by reason:
  memc-load --rejects /tmp/rejects; cut -f3 /tmp/rejects | sort | uniq -c
",
    ),
];

/// What `-h` says after the options.
pub(super) fn short_end() -> String {
    "Every option can also be given as a variable, such as MEMC_LOAD_RETRY_FOR=1m.\n\
     --help says more, with examples and the exit codes."
        .to_owned()
}

/// What `--help` says after the options.
pub(super) fn long_end() -> String {
    let indented = |text: &str| text.lines().map(|line| format!("  {line}\n")).collect::<String>();
    let sections = SECTIONS.map(|(heading, text)| format!("{heading}:\n{}", indented(text)));
    sections.join("\n").lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}
