//! Errors that several parts make.

use kombu_core::{Error, ErrorKind};

pub(crate) fn closed() -> Error {
    Error::new(ErrorKind::Closed, "the connection is closed")
}
