//! The self-check of `--test`: two lines there and back through the serialization.

use anyhow::{Context, Result, ensure};
use memc_core::apps::prost::Message;
use memc_core::apps::{AppsInstalled, UserApps, serialize};

/// The sample of the old script, with what it must become.
const SAMPLES: [(&str, &str, &[u32]); 2] = [
    (
        "idfa\t1rfw452y52g2gq4g\t55.55\t42.42\t1423,43,567,3,7,23",
        "idfa:1rfw452y52g2gq4g",
        &[1423, 43, 567, 3, 7, 23],
    ),
    ("gaid\t7rfw452y52g2gq4g\t55.55\t42.42\t7423,424", "gaid:7rfw452y52g2gq4g", &[7423, 424]),
];

/// Parses, serializes, decodes and compares the sample.
pub(crate) fn run() -> Result<()> {
    let (mut apps, mut key, mut value) = (Vec::new(), Vec::new(), Vec::new());
    for (line, expected_key, expected_apps) in SAMPLES {
        let record = AppsInstalled::parse(line.as_bytes(), &mut apps)
            .with_context(|| format!("rejected: '{line}'"))?
            .with_context(|| format!("skipped: '{line}'"))?;
        serialize(&record, &mut key, &mut value);
        ensure!(key == expected_key.as_bytes(), "wrong key '{}' for '{line}'", key.escape_ascii());
        let expected = UserApps { apps: expected_apps.to_vec(), lat: Some(55.55), lon: Some(42.42) };
        let decoded =
            UserApps::decode(&value[..]).with_context(|| format!("cannot decode the value of '{line}'"))?;
        ensure!(decoded == expected, "wrong value {decoded:?} for '{line}'");
        ensure!(value == expected.encode_to_vec(), "other bytes than prost's for '{line}'");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn passes() -> anyhow::Result<()> {
        super::run()
    }
}
