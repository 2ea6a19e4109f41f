//! Brotli.

use std::io::Read;

use super::Compressor;
use super::bounded::{not_compressed, read_to_limit};
use crate::error::Result;

/// Python's `brotli`: quality 11, window 22.
pub(super) struct Brotli;

impl Compressor for Brotli {
    fn compress(&self, body: &[u8]) -> Result<Vec<u8>> {
        let mut compressed = Vec::new();
        let encoder = brotli::CompressorReader::new(body, BUFFER, 11, 22);
        { encoder }.read_to_end(&mut compressed).map_err(not_compressed)?;
        Ok(compressed)
    }

    fn decompress(&self, body: &[u8], limit: usize) -> Result<Vec<u8>> {
        read_to_limit(brotli::Decompressor::new(body, BUFFER), limit)
    }
}

const BUFFER: usize = 32 * 1024;
