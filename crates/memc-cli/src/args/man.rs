//! The manual page and the shell completions that packages install.

use std::io::{self, Write};

use clap_complete::Shell;
use clap_mangen::Man;
use roff::{Roff, bold, roman};

use crate::args::help::SECTIONS;
use crate::args::{self, Args};

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
    commands(&mut end);
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

/// What there is instead of a load.
fn commands(page: &mut Roff) {
    let mut command = args::command();
    command.build();
    page.control("SH", ["COMMANDS"]);
    for operation in command.get_subcommands_mut() {
        let usage = operation.render_usage().to_string();
        page.control("TP", []);
        page.text([bold(usage.trim_start_matches("Usage: "))]);
        let text = operation.get_long_about().or(operation.get_about()).map(ToString::to_string);
        for paragraph in text.unwrap_or_default().split("\n\n") {
            page.text([roman(paragraph)]);
            page.control("IP", []);
        }
    }
}
