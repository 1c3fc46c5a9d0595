//! The example of another loader, `examples/profiles.rs`, against a real server.

use std::process::Command;

use memc_testkit::Memcached;

use crate::Result;

#[test]
fn the_example_of_user_profiles_loads_them() -> Result {
    let server = Memcached::start(&[])?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("profiles.csv");
    std::fs::write(
        &file,
        "17,ann,ann@example.org\nno comma\n18,bob,bob@example.org\n17,ann,ann@example.com\n",
    )?;
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--example", "profiles", "--"])
        .arg(server.address())
        .arg(&file)
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(String::from_utf8(output.stdout)?, "3 profiles loaded, 1 rejected\n");
    let contents = server.contents()?;
    assert_eq!(contents.len(), 2);
    assert_eq!(contents[&b"user:17"[..]].value, b"ann,ann@example.com");
    Ok(())
}
