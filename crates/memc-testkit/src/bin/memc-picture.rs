//! Writes a picture of a page to standard output, as a PNG in Base64: `memc-picture URL WIDTH HEIGHT CONDITION`.
//!
//! CONDITION is an expression of JavaScript; the picture is taken when it is true.

use std::io::{Error, Result, Write};
use std::time::{Duration, Instant};

use memc_testkit::Browser;

const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, width, height, condition] = &arguments[..] else {
        return Err(Error::other("give URL WIDTH HEIGHT CONDITION"));
    };
    let number = |text: &str| text.parse().map_err(Error::other);
    let mut browser = Browser::start()?;
    browser.show(number(width)?, number(height)?, false)?;
    browser.open(url)?;
    let until = Instant::now() + PATIENCE;
    while browser.evaluate(condition)? != true {
        if Instant::now() > until {
            return Err(Error::other(format!("not so on the page: {condition}")));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    std::io::stdout().write_all(browser.picture()?.as_bytes())
}
