//! The words and the four traits of Kombu for Rust.
#![forbid(unsafe_code)]

mod error;
mod short_str;

pub use error::{Error, ErrorKind, Outcome, Recovery, Result, Scope};
pub use short_str::ShortStr;
