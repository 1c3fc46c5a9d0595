//! Reads one record back through the pooled `memcache` client and shows it decoded.
//!
//! `cargo run --example read_back -- 127.0.0.1:33013 idfa:e7e1a50c0ec2747ca56cd9e1558c0d7c`

use std::error::Error;

use memc_core::apps::UserApps;
use memc_core::apps::prost::Message;
use r2d2_memcache::MemcacheConnectionManager;
use r2d2_memcache::r2d2::Pool;

#[expect(clippy::print_stdout, reason = "an example shows what it did")]
fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, key] = &arguments[..] else { return Err("usage: read_back SERVER KEY".into()) };
    let pool =
        Pool::builder().max_size(1).build(MemcacheConnectionManager::new(format!("memcache://{server}")))?;
    let value: Option<Vec<u8>> = pool.get()?.get(key)?;
    let value = value.ok_or_else(|| format!("no record under '{key}'"))?;
    println!("{key}: {:?}", UserApps::decode(&value[..])?);
    Ok(())
}
