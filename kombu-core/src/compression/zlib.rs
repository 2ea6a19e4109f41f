//! zlib streams.

use std::io::Write;

use super::Compressor;
use super::bounded::{not_compressed, read_to_limit};
use crate::error::Result;

/// Python's `zlib`: level 6, RFC 1950.
pub(super) struct Zlib;

impl Compressor for Zlib {
    fn compress(&self, body: &[u8]) -> Result<Vec<u8>> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(body).and_then(|()| encoder.finish()).map_err(not_compressed)
    }

    fn decompress(&self, body: &[u8], limit: usize) -> Result<Vec<u8>> {
        read_to_limit(flate2::bufread::ZlibDecoder::new(body), limit)
    }
}
