//! The words and the four traits of Kombu for Rust.
#![forbid(unsafe_code)]

mod clock;
mod error;
pub mod hub;
pub mod reply;
mod short_str;

pub use clock::{Clock, ManualClock, SystemClock};
pub use error::{Error, ErrorKind, Outcome, Recovery, Result, Scope};
pub use short_str::ShortStr;
