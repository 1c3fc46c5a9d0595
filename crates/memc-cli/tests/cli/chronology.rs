//! Files are taken by the time stamps in their names, whatever folders they are in.

use anyhow::Result;
use memc_testkit::Sample;

use crate::workdir::{Workdir, model};

/// In the order in which they must be loaded; those with one time stamp by folder.
const FILES: [&str; 5] = [
    "b/20170929000000.tsv.gz",
    "a/20170929000100.tsv.gz",
    "c/20170929000100.tsv.gz",
    "b/20170929000200.tsv.gz",
    "a/20170929000300.tsv.gz",
];

#[test]
fn the_last_file_in_chronological_order_wins_over_all_folders() -> Result<()> {
    let work = Workdir::new()?;
    let mut sample = Sample::new(1).with(0.5, 0.0);
    let mut texts = Vec::new();
    for (number, name) in FILES.iter().enumerate() {
        let same = format!("idfa\tsame\t1.5\t2.5\t{number}\n");
        texts.push([same.as_bytes(), &sample.text(500), same.as_bytes()].concat());
        work.gzip(name, &texts[number])?;
    }
    let run = work.load(&["--pattern", &work.name("*/*.tsv.gz"), "--threads", "8"])?;
    run.exits(0)?;
    let order: Vec<_> =
        run.log_of("I")?.into_iter().filter_map(|line| line.strip_prefix("Processing ")).collect();
    let expected = FILES.map(|name| work.name(name));
    run.ensure(order == expected, format!("expected the order {expected:?}"))?;
    run.leaves(&[
        "a/.20170929000100.tsv.gz",
        "a/.20170929000300.tsv.gz",
        "b/.20170929000000.tsv.gz",
        "b/.20170929000200.tsv.gz",
        "c/.20170929000100.tsv.gz",
    ])?;
    work.holds(&model(&texts))
}
