//! xz and lzma.

use std::io::Write;

use super::Compressor;
use super::bounded::{damaged, not_compressed, read_to_limit};
use crate::error::Result;

/// Python's `lzma`: .xz with CRC64 at preset 6; reads the older .lzma too.
pub(super) struct Lzma;

impl Compressor for Lzma {
    fn compress(&self, body: &[u8]) -> Result<Vec<u8>> {
        let mut encoder = liblzma::write::XzEncoder::new(Vec::new(), 6);
        encoder.write_all(body).and_then(|()| encoder.finish()).map_err(not_compressed)
    }

    fn decompress(&self, body: &[u8], limit: usize) -> Result<Vec<u8>> {
        /// Bounds the dictionary a body may ask for; preset 9, the largest, needs 65 MiB.
        const MEMORY: u64 = 128 * 1024 * 1024;
        let stream = liblzma::stream::Stream::new_auto_decoder(MEMORY, liblzma::stream::CONCATENATED);
        let stream = stream.map_err(|error| damaged(error.into()))?;
        read_to_limit(liblzma::bufread::XzDecoder::new_stream(body, stream), limit)
    }
}
