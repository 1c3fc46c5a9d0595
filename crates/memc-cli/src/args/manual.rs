//! What help says after the options, and the manual page and the shell completions that packages install.

use std::io::{self, Write};

use clap_complete::Shell;
use clap_mangen::Man;
use roff::{Roff, roman};

use crate::args::{self, Args};

/// The end of `--help` and of the manual page: headings with lines that stay as they are.
const SECTIONS: [(&str, &str); 3] = [
    (
        "Environment",
        "\
Every option can also be given as a variable: MEMC_LOAD_ and its name in
capitals, with _ for -, such as MEMC_LOAD_RETRY_FOR=1m or MEMC_LOAD_DRY=yes.
What the command line says goes first.
",
    ),
    (
        "Exit status",
        "\
0    all is done
1    the run stopped early: the log says where and why; mend it, run again
2    wrong usage
3    all is done, but a file is over the error rate, a server has lost
     records, or the report or the metrics could not be written
130  stopped by SIGINT (Ctrl-C); run again to go on
143  stopped by SIGTERM; run again to go on
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

Load every file that comes, until it is stopped:
  memc-load --follow

From cron, watched by Prometheus:
  memc-load --log /var/log/memc-load.log \\
      --metrics /var/lib/prometheus/node-exporter/memc_load.prom

Keep the rejected lines of a file that has too many, and count them by reason:
  memc-load --rejects /tmp/rejects; cut -f3 /tmp/rejects | sort | uniq -c
",
    ),
];

/// What `-h` says after the options.
pub(crate) fn short_end() -> String {
    "Every option can also be given as a variable, such as MEMC_LOAD_RETRY_FOR=1m.\n\
     --help says more, with examples and the exit codes."
        .to_owned()
}

/// What `--help` says after the options.
pub(crate) fn long_end() -> String {
    let indented = |text: &str| text.lines().map(|line| format!("  {line}\n")).collect::<String>();
    let sections = SECTIONS.map(|(heading, text)| format!("{heading}:\n{}", indented(text)));
    sections.join("\n").lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// Prints what one of the hidden options asks for; `None` if there is none of them.
pub(crate) fn print(args: &Args) -> Option<io::Result<()>> {
    let text = match args.print_completions {
        Some(shell) => Ok(completions(shell)),
        None if args.print_man => page(),
        None => return None,
    };
    Some(text.and_then(|text| io::stdout().write_all(&text)))
}

fn completions(shell: Shell) -> Vec<u8> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut args::command(), "memc-load", &mut text);
    text
}

/// The manual page in roff.
fn page() -> io::Result<Vec<u8>> {
    let man = Man::new(args::command()).source(format!("memc-load {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut end = Roff::new();
    for (heading, text) in SECTIONS {
        end.control("SH", [heading.to_uppercase().as_str()]);
        end.control("nf", []);
        text.lines().for_each(|line| {
            end.text([roman(line)]);
        });
        end.control("fi", []);
    }
    end.to_writer(&mut page)?;
    Ok(page)
}
