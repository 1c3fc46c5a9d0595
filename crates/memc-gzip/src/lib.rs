#![doc = include_str!("../README.md")]

mod deflate;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod reader;

pub use reader::GzReader;
