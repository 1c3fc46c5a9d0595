//! Rendezvous hashing: each server has a score for a key, and the highest wins.

use std::borrow::Cow;
use std::io::Read;

/// The servers by name.
#[derive(Clone, Debug)]
pub(crate) struct Rendezvous {
    /// What is hashed before the key, of each server.
    prefixes: Vec<String>,
}

impl Rendezvous {
    /// Servers with these names.
    pub(crate) fn new<'a>(names: impl Iterator<Item = &'a str>) -> Self {
        Self { prefixes: names.map(|name| format!("{name}-")).collect() }
    }

    /// The highest score for a key, and its server. Of two with the same score the one with the greater name has it.
    pub(crate) fn highest(&self, key: &[u8]) -> (u32, usize) {
        let key = characters(key);
        let scores = self.prefixes.iter().enumerate().map(|(server, prefix)| {
            // Reading from memory does not fail.
            let score = murmur3::murmur3_32(&mut prefix.as_bytes().chain(&*key), 0).unwrap_or(0);
            (score, prefix, server)
        });
        scores.max().map_or((0, 0), |(score, _, server)| (score, server))
    }
}

/// What pymemcache's murmur3 sees of a key: not its bytes, but the lowest byte of each character.
fn characters(key: &[u8]) -> Cow<'_, [u8]> {
    match std::str::from_utf8(key) {
        #[expect(clippy::cast_possible_truncation, reason = "that is what pymemcache does")]
        Ok(text) if !text.is_ascii() => text.chars().map(|c| u32::from(c) as u8).collect(),
        _ => key.into(),
    }
}
