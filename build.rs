//! Compiles `proto/appsinstalled.proto` to Rust, with protox so that nobody has to install protoc.
//!
//! It stands at the top of the repository and runs for memc-core, through a link in that crate's folder; without the
//! feature `apps` there is nothing to compile.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    #[cfg(feature = "apps")]
    compile("proto/appsinstalled.proto")?;
    Ok(())
}

#[cfg(feature = "apps")]
fn compile(schema: &str) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={schema}");
    let descriptors = protox::compile([schema], ["proto"])?;
    prost_build::compile_fds(descriptors)?;
    Ok(())
}
