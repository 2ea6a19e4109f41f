//! Reading a decompressor to its end, but not beyond a limit.

use std::io::Read;

use crate::error::{Error, ErrorKind, Result};

/// Reads everything, unless it is more than `limit` bytes.
pub(super) fn read_to_limit(decompressor: impl Read, limit: usize) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    let one_more = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    decompressor.take(one_more).read_to_end(&mut body).map_err(damaged)?;
    if body.len() > limit {
        let message = format!("the body is larger than the limit of {limit} bytes when decompressed");
        return Err(Error::new(ErrorKind::Decode, message));
    }
    Ok(body)
}

pub(super) fn damaged(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Decode, "the compressed body is damaged").caused_by(error)
}

pub(super) fn not_compressed(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Encode, "the body cannot be compressed").caused_by(error)
}
