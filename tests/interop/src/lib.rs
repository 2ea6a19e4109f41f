//! Python Kombu and Celery at the other end of the wire: test support and tests.
//!
//! Not for production and never published.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "test support: a broken setup should stop the test"
)]

mod peer;

pub use peer::Peer;
