//! Keys with the server and the value that they must have, in temporary files, so that memory stays bounded.
//!
//! The keys are dealt out to files by their hash; a file with more keys than fit in memory is dealt out again, by
//! further bits of the hash. So the last entry of a key can be found one file at a time.

use std::collections::HashMap;
use std::env;
use std::fs::File;
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};

use anyhow::{Context, Result};

use crate::inputs::name::shown;

/// Bits of a key's hash that choose one of the files.
const BITS: u32 = 6;

/// What is written to a file at a time.
const BUFFER_BYTES: usize = 16 * 1024;

/// What a key takes in a map besides its bytes: its pointer and length, its entry, the hash table's spare room.
const BYTES_A_KEY: usize = 128;

/// What a record must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    /// The index of its server.
    pub(super) server: u16,
    /// The hash of its value: that of another value is the same once in 2^64 times.
    pub(super) value: u64,
}

/// Keys with what they must be.
pub(super) type Keys = HashMap<Box<[u8]>, Expected>;

/// The files of one deal.
#[derive(Debug)]
pub(super) struct Spill {
    files: Vec<BufWriter<File>>,
    /// Bits of the hash by which the keys were dealt out before.
    used_bits: u32,
    /// How many bytes of keys are held in memory at once.
    max_bytes: usize,
}

impl Spill {
    pub(super) fn new(max_bytes: usize) -> Result<Self> {
        Self::after(0, max_bytes)
    }

    fn after(used_bits: u32, max_bytes: usize) -> Result<Self> {
        let file = || tempfile::tempfile().map(|file| BufWriter::with_capacity(BUFFER_BYTES, file));
        let files = (0..1 << BITS).map(|_| file()).collect::<io::Result<_>>().with_context(problem)?;
        Ok(Self { files, used_bits, max_bytes })
    }

    /// Adds a key. An earlier entry of it no longer counts.
    pub(super) fn add(&mut self, key: &[u8], expected: Expected) -> Result<()> {
        let at = (hash(key) >> self.used_bits) % (1 << BITS);
        let file = &mut self.files[usize::try_from(at)?];
        let length = u8::try_from(key.len())?;
        let mut write = || {
            file.write_all(&[length])?;
            file.write_all(key)?;
            file.write_all(&expected.server.to_le_bytes())?;
            file.write_all(&expected.value.to_le_bytes())
        };
        write().with_context(problem)
    }

    /// Hands over all keys, some at a time, each with its last entry.
    pub(super) fn each(self, visit: &mut impl FnMut(Keys) -> Result<()>) -> Result<()> {
        for file in self.files {
            let mut file = file.into_inner().map_err(io::IntoInnerError::into_error).with_context(problem)?;
            let mut keys = Keys::new();
            let mut bytes = 0;
            // With all bits used up, hardly a thing on earth has as many keys.
            let fits = |bytes| bytes <= self.max_bytes || self.used_bits + 2 * BITS > u64::BITS;
            read(&mut file, |key, expected| {
                if let Some(known) = keys.get_mut(key) {
                    *known = expected;
                } else {
                    bytes += key.len() + BYTES_A_KEY;
                    keys.insert(key.into(), expected);
                }
                Ok(fits(bytes))
            })?;
            if fits(bytes) {
                visit(keys)?;
            } else {
                drop(keys);
                let mut parts = Self::after(self.used_bits + BITS, self.max_bytes)?;
                read(&mut file, |key, expected| parts.add(key, expected).map(|()| true))?;
                drop(file);
                parts.each(visit)?;
            }
        }
        Ok(())
    }
}

/// Reads the entries of a file from its start, as long as `visit` goes on.
fn read(file: &mut File, mut visit: impl FnMut(&[u8], Expected) -> Result<bool>) -> Result<()> {
    file.rewind().with_context(problem)?;
    let mut file = BufReader::with_capacity(BUFFER_BYTES, file);
    let mut key = [0; u8::MAX as usize];
    loop {
        let mut length = [0];
        if file.read(&mut length).with_context(problem)? == 0 {
            return Ok(());
        }
        let key = &mut key[..length[0].into()];
        let (mut server, mut value) = ([0; 2], [0; 8]);
        let mut fill = || {
            file.read_exact(key)?;
            file.read_exact(&mut server)?;
            file.read_exact(&mut value)
        };
        fill().with_context(problem)?;
        let expected = Expected { server: u16::from_le_bytes(server), value: u64::from_le_bytes(value) };
        if !visit(key, expected)? {
            return Ok(());
        }
    }
}

/// The hash of a key or a value, the same within this process.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(bytes);
    hasher.finish()
}

fn problem() -> String {
    let folder = env::temp_dir();
    format!("cannot use a temporary file in '{}': give a folder with more room as TMPDIR", shown(&folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_entry_of_each_key_comes_once_whatever_fits_in_memory() -> Result<()> {
        const KEYS: u64 = 5000;
        // From a few keys at a time, which takes a second deal, to all at once.
        for max_bytes in [10 * BYTES_A_KEY, 100 * BYTES_A_KEY, usize::MAX] {
            let mut spill = Spill::new(max_bytes)?;
            for round in 0..3 {
                for key in 0..KEYS {
                    spill.add(&key.to_le_bytes(), Expected { server: 3, value: key + round })?;
                }
            }
            let (mut found, mut most) = (HashMap::new(), 0);
            spill.each(&mut |keys| {
                most = most.max(keys.len());
                for (key, expected) in keys {
                    assert_eq!(found.insert(key, expected), None, "a key that comes twice");
                }
                Ok(())
            })?;
            assert_eq!(found.len() as u64, KEYS);
            for key in 0..KEYS {
                assert_eq!(found[&key.to_le_bytes()[..]], Expected { server: 3, value: key + 2 });
            }
            assert!(most <= max_bytes / BYTES_A_KEY, "{most} keys at once");
        }
        Ok(())
    }
}
