//! Zstandard.

use super::Compressor;
use super::bounded::{damaged, not_compressed, read_to_limit};
use crate::error::Result;

/// Python's `compression.zstd`: level 3, the size in the frame.
pub(super) struct Zstd;

impl Compressor for Zstd {
    fn compress(&self, body: &[u8]) -> Result<Vec<u8>> {
        zstd::bulk::compress(body, 3).map_err(not_compressed)
    }

    fn decompress(&self, body: &[u8], limit: usize) -> Result<Vec<u8>> {
        read_to_limit(zstd::stream::read::Decoder::with_buffer(body).map_err(damaged)?, limit)
    }
}
