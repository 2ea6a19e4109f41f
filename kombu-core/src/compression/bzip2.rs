//! bzip2.

use std::io::Write;

use super::Compressor;
use super::bounded::{not_compressed, read_to_limit};
use crate::error::Result;

/// Python's `bz2`: level 9; a body may be several streams.
pub(super) struct Bzip2;

impl Compressor for Bzip2 {
    fn compress(&self, body: &[u8]) -> Result<Vec<u8>> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(body).and_then(|()| encoder.finish()).map_err(not_compressed)
    }

    fn decompress(&self, body: &[u8], limit: usize) -> Result<Vec<u8>> {
        read_to_limit(bzip2::bufread::MultiBzDecoder::new(body), limit)
    }
}
