//! The Redis transport of Kombu for Rust.
#![forbid(unsafe_code)]

mod binding;
mod envelope;
mod keys;
mod malformed;
mod options;
mod restore;
mod scripts;
