//! The page of `--listen` in a real browser: what somebody sees who watches a load.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memc_testkit::{Browser, Memcached, Sample};
use serde_json::Value;

use crate::memory::slow;
use crate::run::skip;
use crate::watched::Watched;
use crate::workdir::Workdir;

/// No wait in these tests takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A phone and a desk.
const WIDTHS: [u32; 2] = [360, 1400];

/// A page that is open.
struct Page(Browser);

impl Page {
    fn value(&mut self, expression: &str) -> Result<Value> {
        Ok(self.0.evaluate(expression)?)
    }

    /// The text of an element, as it is to be seen.
    fn text(&mut self, id: &str) -> Result<String> {
        let text = self.value(&format!("document.getElementById('{id}')?.innerText ?? ''"))?;
        Ok(text.as_str().context("a text")?.to_owned())
    }

    /// Waits until an element shows this.
    fn shows(&mut self, id: &str, part: &str) -> Result<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            let text = self.text(id)?;
            if text.contains(part) {
                return Ok(text);
            }
            if Instant::now() > until {
                let all = self.value("document.body.innerText")?;
                anyhow::bail!("#{id} shows '{text}', not '{part}': {all:#}");
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// How much of the bar is filled, in pixels.
    fn bar(&mut self) -> Result<f64> {
        let width = "document.querySelector('#progress i').getBoundingClientRect().width";
        self.value(width)?.as_f64().context("a width")
    }

    /// Checks that nothing is wider than a screen, on a phone and on a desk, in the light and in the dark.
    fn fits(&mut self) -> Result<()> {
        for width in WIDTHS {
            for is_dark in [false, true] {
                self.0.show(width, 900, is_dark)?;
                let widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth, innerWidth]";
                let widths = self.value(widths)?;
                ensure!(
                    widths[0].as_u64() <= widths[1].as_u64() && widths[2] == width,
                    "at {width}: {widths}"
                );
                let color = self.value("getComputedStyle(document.body).backgroundColor")?;
                let first = color.as_str().and_then(|it| it.trim_start_matches("rgb(").split(',').next());
                let is_shown_dark = first.context("a colour")?.parse::<u32>()? < 128;
                ensure!(is_shown_dark == is_dark, "{color} on a screen that is dark: {is_dark}");
            }
        }
        Ok(())
    }
}

#[test]
fn a_browser_shows_a_load_a_file_that_holds_up_others_a_server_that_is_away_and_lost_contact() -> Result<()> {
    let browser = match Browser::start() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return skip("there is no Chromium: scripts/setup installs it");
        }
        browser => browser?,
    };
    let mut page = Page(browser);
    let work = Workdir::new()?;
    let mut server = Memcached::start(&["-m", "100"])?;
    // So slow that a load of some seconds can be watched.
    let address = slow(&server, 3 << 20)?;
    let route = format!("imei={address}");
    let options = ["--follow", "--route", &route, "--retry-for", "1h", "--timeout", "2s"];
    let watched = Watched::start(&work, &options)?;
    page.0.show(1400, 900, false)?;
    page.0.open(&format!("http://{}/", watched.address))?;
    page.shows("state", "waiting")?;
    page.shows("status", "waiting for files that match")?;
    page.shows("no-files", "None yet.")?;
    page.fits()?;

    // A load, of a file with a name that would be HTML.
    let name = "1<img src=x onerror=document.title=1>&amp;.tsv.gz";
    let text = Sample::new(1).text(40_000);
    let text = String::from_utf8(text)?.replace("idfa\t", "imei\t").replace("gaid\t", "imei\t");
    let text = text.replace("adid\t", "imei\t").replace("dvid\t", "imei\t");
    work.gzip(name, text + &"bad\n".repeat(20) + "imei\tx\tnorth\t2\t3\n")?;
    page.shows("state", "loading")?;
    page.shows("file", &format!("{} (1 of 1)", work.name(name)))?;
    watched.wait_for("something is in flight", |it| {
        let servers = it["servers"].as_array().map_or(&[][..], Vec::as_slice);
        servers.iter().any(|server| server["bytes_in_flight"].as_u64() > Some(0))
    })?;
    let first = page.bar()?;
    let until = Instant::now() + PATIENCE;
    let mut moved = first;
    while moved <= first || moved == 0.0 {
        ensure!(
            Instant::now() < until,
            "the bar stays at {first}: {}",
            page.value("document.body.innerText")?
        );
        moved = page.bar()?;
    }
    let percent = page.text("progress-text")?;
    ensure!(percent.contains(" % ") || percent.contains(" %, "), "{percent}");
    page.fits()?;
    let done = page.shows("files", name)?;
    ensure!(done.contains("20,000") || done.contains("40,000"), "{done}");
    ensure!(done.contains("21: coordinates 1, field_count 20"), "{done}");
    ensure!(page.value("document.querySelectorAll('main img').length")? == 0, "a name became HTML");
    page.shows("state", "waiting")?;
    page.shows("done", "1")?;
    let servers = page.text("servers")?;
    for part in [&address, "imei", "up", "100.0 %", " of 100 MiB"] {
        ensure!(servers.contains(part), "no '{part}' in {servers}");
    }
    // The line of the last hour has points, and goes up and down.
    let until = Instant::now() + PATIENCE;
    let heights = "new Set((document.getElementById('line').getAttribute('points') || '').split(' ')\
                   .map(point => point.split(',')[1])).size";
    while page.value(heights)?.as_u64() < Some(2) {
        ensure!(Instant::now() < until, "there is no line");
        sleep(Duration::from_millis(100));
    }
    let drawn = page.value("document.getElementById('line').getBoundingClientRect().width")?;
    ensure!(drawn.as_f64() > Some(100.0), "the line is {drawn} wide");
    page.shows("axis-top", "highest ")?;

    // A file that is not complete.
    let whole = memc_testkit::gzip(b"imei\tx\t1\t2\t3\n")?;
    work.write("2.tsv.gz", &whole[..20])?;
    page.shows("state", "held up")?;
    page.shows("status", &format!("held up by {}", work.name("2.tsv.gz")))?;
    page.shows("backlog", "1 file, 20 B")?;
    page.fits()?;

    // A server that is away.
    server.kill()?;
    work.write("2.tsv.gz", &whole)?;
    page.shows("state", "server away")?;
    page.shows("servers", "away for ")?;
    page.shows("log", &format!("W {address} (--route imei=ADDR): away: "))?;
    page.fits()?;
    server.restart()?;
    page.shows("done", "2")?;
    page.shows("state", "waiting")?;

    // Nothing on it needs a mouse: what can be used can be reached with the keyboard.
    let only_mouse = "[...document.querySelectorAll('*')].filter(it => it.onclick || it.matches('[onclick], [tabindex]')).length";
    ensure!(page.value(only_mouse)? == 0);
    let elsewhere =
        "performance.getEntriesByType('resource').filter(it => !it.name.startsWith(location.origin)).length";
    ensure!(page.value(elsewhere)? == 0, "something was loaded from elsewhere");

    watched.stop(&work)?;
    page.shows("state", "lost contact")?;
    page.shows("lost", "No contact with memc-load for ")?;
    page.fits()
}
