//! Compiles `proto/appsinstalled.proto` to Rust, with protox so that nobody has to install protoc.
//!
//! It stands at the top of the repository and runs for memc-core, through a link in that crate's folder.

use std::error::Error;

const SCHEMA: &str = "proto/appsinstalled.proto";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={SCHEMA}");
    let descriptors = protox::compile([SCHEMA], ["proto"])?;
    prost_build::compile_fds(descriptors)?;
    Ok(())
}
