//! Draws a status.

use std::time::Duration;

use indicatif::{BinaryBytes, HumanCount};
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Gauge, Paragraph, Row, Sparkline, Table};

use crate::ops::top::seen::Seen;
use crate::output::messages::rounded;
use crate::watch::status::{Server, State, Status};

/// No more lines of the log are shown.
const LOG_LINES: usize = 6;

/// Draws all that is known, as far as there is room.
pub(super) fn draw(frame: &mut Frame<'_>, seen: &Seen) {
    let Some(status) = &seen.status else {
        let waits =
            seen.error.as_ref().map_or("connecting …".to_owned(), |error| format!("no contact: {error}"));
        let text =
            vec![Line::from(format!("memc-load top {}", seen.source).bold()), waits.into(), KEYS.into()];
        return frame.render_widget(Paragraph::new(text), frame.area());
    };
    let servers = u16::try_from(status.servers.len()).unwrap_or(u16::MAX).saturating_add(2);
    let log = u16::try_from(status.log.len().clamp(1, LOG_LINES)).unwrap_or(1) + 1;
    let parts = [2, 1, 2, 6, servers].map(Constraint::Length);
    let parts = parts.into_iter().chain([Constraint::Min(3), Constraint::Length(log), Constraint::Length(1)]);
    let areas = Layout::vertical(parts).split(frame.area());
    frame.render_widget(Paragraph::new(head(status, seen)), areas[0]);
    frame.render_widget(progress(status), areas[1]);
    frame.render_widget(Paragraph::new(figures(status)), areas[2]);
    pace(frame, status, areas[3]);
    frame.render_widget(servers_table(status), areas[4]);
    frame.render_widget(files_table(status), areas[5]);
    frame.render_widget(log_lines(status), areas[6]);
    frame.render_widget(Paragraph::new(KEYS.dim()), areas[7]);
}

const KEYS: &str = "q ends";

fn head<'a>(status: &'a Status, seen: &'a Seen) -> Vec<Line<'a>> {
    let (word, color) = match (&seen.error, status.state) {
        (Some(_), _) => ("lost contact", Color::Red),
        (_, State::HeldUp) => ("held up", Color::Red),
        (_, State::ServerAway) => ("server away", Color::Red),
        (_, State::Starting) => ("starting", Color::Yellow),
        (_, State::Stopping) => ("stopping", Color::Yellow),
        (_, State::Loading) => ("loading", Color::Green),
        (_, State::Waiting) => ("waiting", Color::Green),
    };
    let text = match (&seen.error, &status.held_up) {
        (Some(error), _) => {
            format!(
                "for {}, what is shown is old: {error}",
                rounded(Duration::from_secs(seen.contact.elapsed().as_secs()))
            )
        }
        (None, Some(it)) => format!("by {} for {}: {}", it.name, time(it.duration_seconds), it.reason),
        (None, None) => status.status.clone(),
    };
    let state = Style::new().fg(color).add_modifier(Modifier::BOLD | Modifier::REVERSED);
    let first =
        vec!["memc-load ".bold(), Span::styled(format!(" {word} "), state), format!(" {text}").into()];
    vec![Line::from(first), Line::from(format!("{}  {}", seen.source, status.program_version).dim())]
}

fn progress(status: &Status) -> Gauge<'_> {
    let Some(file) = &status.file else { return Gauge::default().ratio(0.0).label("no file at work") };
    #[expect(clippy::cast_precision_loss, reason = "a bar needs no more than 53 bits of a count")]
    let part = if file.bytes == 0 { 0.0 } else { file.bytes_in as f64 / file.bytes as f64 };
    let label = format!("{} ({} of {}) {:.1} %", file.name, file.number, file.files, part * 100.0);
    Gauge::default().gauge_style(Color::Blue).ratio(part.clamp(0.0, 1.0)).label(label)
}

fn figures(status: &Status) -> Vec<Line<'_>> {
    let backlog = status.backlog.as_ref().map_or_else(
        || "backlog –".to_owned(),
        |it| {
            let (files, bytes) = (HumanCount(it.files as u64), BinaryBytes(it.bytes));
            format!("backlog {files} files, {bytes}, lag {}", time(it.oldest_seconds))
        },
    );
    let in_flight = BinaryBytes(status.servers.iter().map(|server| server.bytes_in_flight).sum());
    let pace = HumanCount(status.records_per_second);
    let (done, loaded) = (HumanCount(status.files_done), HumanCount(status.counts.records_loaded));
    let rejected = HumanCount(status.counts.lines_rejected);
    vec![
        Line::from(format!("{backlog}   {pace} records/s   {in_flight} in flight")),
        Line::from(format!("{done} files done   {loaded} records loaded   {rejected} lines rejected")),
    ]
}

/// The line of the last hour, as wide as there is room.
fn pace(frame: &mut Frame<'_>, status: &Status, area: Rect) {
    let points = &status.history.records_per_second;
    let columns = usize::from(area.width).max(1);
    // Each column has the mean of its points.
    let size = points.len().div_ceil(columns).max(1);
    let data: Vec<u64> =
        points.chunks(size).map(|chunk| chunk.iter().sum::<u64>() / chunk.len() as u64).collect();
    let highest = HumanCount(points.iter().copied().max().unwrap_or(0));
    let title = format!("records a second, last hour: highest {highest}");
    frame.render_widget(Sparkline::default().data(&data).block(block(title)).style(Color::Blue), area);
}

fn block<'a>(title: impl Into<Line<'a>>) -> Block<'a> {
    Block::new().borders(Borders::TOP).title(title)
}

fn servers_table(status: &Status) -> Table<'_> {
    let rows = status.servers.iter().map(|server| {
        let state = match (server.up, &server.away_reason) {
            (true, _) => Cell::from("up".green()),
            (false, Some(reason)) => Cell::from(format!("away: {reason}").red()),
            (false, None) => Cell::from("away".red()),
        };
        Row::new([
            Cell::from(format!("{} ({})", server.address, server.device_types.join(", "))),
            state,
            Cell::from(server.share.map_or("–".to_owned(), |share| format!("{:.1} %", share * 100.0))),
            Cell::from(HumanCount(server.records).to_string()),
            Cell::from(server.round_trip_seconds.map_or("–".to_owned(), time)),
            Cell::from(HumanCount(server.retries).to_string()),
            marked(server.evictions),
            Cell::from(memory(server)),
        ])
    });
    let widths =
        [3, 2].map(Constraint::Fill).into_iter().chain([7, 13, 10, 8, 10, 24].map(Constraint::Length));
    let titles = ["servers", "state", "share", "records", "round trip", "retries", "evictions", "memory"];
    Table::new(rows, widths).header(Row::new(titles).dim()).block(Block::new().borders(Borders::TOP))
}

/// A count that should be 0.
fn marked(count: u64) -> Cell<'static> {
    let text = HumanCount(count).to_string();
    if count > 0 { Cell::from(text.red()) } else { Cell::from(text) }
}

fn memory(server: &Server) -> String {
    let bytes = |bytes: Option<u64>| bytes.map_or("–".to_owned(), |bytes| BinaryBytes(bytes).to_string());
    if server.no_statistics {
        return "no statistics".to_owned();
    }
    format!("{} of {}", bytes(server.memory_used_bytes), bytes(server.memory_limit_bytes))
}

fn files_table(status: &Status) -> Table<'_> {
    let rows = status.files.iter().map(|file| {
        let report = &file.report;
        let reasons = report.counts.lines_rejected_by_reason.iter();
        let reasons: Vec<_> = reasons.map(|(reason, lines)| format!("{reason} {lines}")).collect();
        let rejected = format!("{} {}", HumanCount(report.counts.lines_rejected), reasons.join(", "));
        let is_good = report.error_rate_acceptable;
        Row::new([
            Cell::from(report.name.as_str()),
            Cell::from(time(report.duration_seconds)),
            Cell::from(HumanCount(report.counts.records_loaded).to_string()),
            if is_good { Cell::from(rejected) } else { Cell::from(rejected.red()) },
        ])
    });
    let widths = [Constraint::Fill(3), Constraint::Length(10), Constraint::Length(13), Constraint::Fill(2)];
    let titles = Row::new(["last files", "took", "records", "rejected lines, by reason"]).dim();
    Table::new(rows, widths).header(titles).block(Block::new().borders(Borders::TOP))
}

fn log_lines(status: &Status) -> Paragraph<'_> {
    let lines = status.log.iter().take(LOG_LINES).map(|line| {
        let color = if line.level == 'E' { Color::Red } else { Color::Yellow };
        let time = line.time.split_once('T').map_or("", |(_, time)| time.split('.').next().unwrap_or(time));
        Line::from(vec![
            format!("{time} ").dim(),
            Span::styled(format!("{} ", line.level), color),
            line.message.as_str().into(),
        ])
    });
    let lines: Vec<_> = lines.collect();
    Paragraph::new(lines).block(block("last warnings and errors (UTC)"))
}

/// A time in seconds, with two units at most.
fn time(seconds: f64) -> String {
    if (1.0..10.0).contains(&seconds) {
        return format!("{seconds:.1}s");
    }
    let text = rounded(Duration::try_from_secs_f64(seconds).unwrap_or_default()).to_string();
    text.splitn(3, ' ').take(2).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use anyhow::Result;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;
    use serde_json::json;

    use super::*;

    /// What a screen of this size shows, a line each.
    fn screen(seen: &Seen, width: u16, height: u16) -> Result<Vec<String>> {
        let mut terminal = Terminal::new(TestBackend::new(width, height))?;
        terminal.draw(|frame| draw(frame, seen))?;
        let cells = terminal.backend().buffer().content.chunks(usize::from(width));
        Ok(cells.map(|row| row.iter().map(ratatui::buffer::Cell::symbol).collect()).collect())
    }

    fn seen() -> Result<Seen> {
        let counts = json!({
            "lines": 7, "records_loaded": 1_234_567, "lines_rejected": 21,
            "lines_rejected_by_reason": {"field_count": 21}, "app_ids_dropped": 0, "bytes_decompressed": 1,
            "bytes_sent": 1, "bytes_in": 1,
        });
        let mut file = counts.clone();
        let more = json!({
            "name": "0.gz\u{1b}[2J", "ended_at": "2026-11-24T12:00:00.000Z", "duration_seconds": 1.5,
            "records_per_second": 3.0, "error_rate": 0.5, "error_rate_acceptable": false,
        });
        let mut status = json!({
            "schema_version": 1, "program_version": "0.1.0", "time": "", "started_at": "", "state": "server_away",
            "status": "loading 1.gz: waiting for h:1", "dry": false, "follow": true, "pattern": null, "alive": true,
            "ready": false, "not_ready": [], "held_up": null, "records_per_second": 4321, "files_done": 5,
            "file": {"name": "1.gz", "number": 1, "files": 2, "bytes": 200, "bytes_in": 50, "duration_seconds": 3.0},
            "backlog": {"files": 3, "bytes": 2048, "oldest_seconds": 3700.0}, "files_quarantined": 0,
            "files_over_error_rate": 1, "history": {"interval_seconds": 2, "records_per_second": [1, 5, 9000, 0]},
            "servers": [{
                "address": "h:1", "device_types": ["idfa"], "up": false, "away_reason": "refused", "shares": {}, "no_statistics": false,
                "away_seconds": 3.0, "version": null, "share": 0.25, "records": 1000, "bytes_in_flight": 1024,
                "round_trip_seconds": 0.002, "retries": 7, "evictions": 8, "restarts": 0, "files_lost": 0,
                "memory_used_bytes": 1024, "memory_limit_bytes": 4096,
            }],
            "log": [{"time": "2026-11-24T12:34:56.789Z", "level": "W", "message": "h:1: away"}],
        });
        for (to, from) in [(&mut file, more), (&mut status, counts)] {
            let fields = from.as_object().cloned().unwrap_or_default();
            to.as_object_mut().into_iter().for_each(|to| to.extend(fields.clone()));
        }
        status["files"] = json!([file]);
        let status = Some(serde_json::from_value(status)?);
        Ok(Seen { source: "http://h/status.json".to_owned(), status, contact: Instant::now(), error: None })
    }

    #[test]
    fn all_that_is_known_is_shown() -> Result<()> {
        let mut seen = seen()?;
        let lines = screen(&seen, 160, 40)?;
        let all = lines.join("\n");
        for part in [
            "memc-load  server away  loading 1.gz: waiting for h:1",
            "1.gz (1 of 2) 25.0 %",
            "backlog 3 files, 2.00 KiB, lag 1h 1m   4,321 records/s   1.00 KiB in flight",
            "5 files done   1,234,567 records loaded   21 lines rejected",
            "highest 9,000",
            "away: refused",
            "25.0 %",
            "2ms",
            "1.00 KiB of 4.00 KiB",
            "1.5s",
            "21 field_count 21",
            "12:34:56 W h:1: away",
            "q ends",
        ] {
            assert!(all.contains(part), "no '{part}' in\n{all}");
        }
        assert!(!all.contains('\u{1b}'), "a control character");
        assert!(lines.iter().any(|line| line.contains('█')), "no line of the last hour:\n{all}");
        seen.error = Some("refused".to_owned());
        assert!(screen(&seen, 160, 40)?[0].contains("lost contact  for 0s, what is shown is old: refused"));
        Ok(())
    }

    #[test]
    fn any_size_will_do_and_nothing_known_yet() -> Result<()> {
        let mut seen = seen()?;
        for (width, height) in [(1, 1), (20, 5), (80, 24), (300, 100)] {
            screen(&seen, width, height)?;
        }
        seen.status = None;
        assert!(screen(&seen, 80, 24)?[1].starts_with("connecting"));
        seen.error = Some("refused".to_owned());
        assert!(screen(&seen, 80, 24)?[1].starts_with("no contact: refused"));
        Ok(())
    }
}
