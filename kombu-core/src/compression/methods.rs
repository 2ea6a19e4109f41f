//! The methods Kombu has, each with the settings of the Python module behind it.

#[cfg(any(
    feature = "compression-zlib",
    feature = "compression-bzip2",
    feature = "compression-lzma",
    feature = "compression-zstd",
    feature = "compression-brotli"
))]
use {
    super::Compressor,
    super::bounded::{damaged, not_compressed, read_to_limit},
    crate::error::Result,
    std::io::{Read, Write},
    std::sync::Arc,
};

use super::{How, Method};
use crate::short_str::ShortStr;

macro_rules! how {
    ($feature:literal, $compressor:expr) => {{
        #[cfg(feature = $feature)]
        let how = How::Present(Arc::new($compressor));
        #[cfg(not(feature = $feature))]
        let how = How::Missing($feature);
        how
    }};
}

pub(super) fn all() -> Vec<Method> {
    let method = |content_type, aliases: &[&'static str], how| Method {
        content_type: ShortStr::from_static(content_type),
        aliases: aliases.iter().map(|alias| ShortStr::from_static(alias)).collect(),
        how,
    };
    vec![
        method("application/x-gzip", &["gzip", "zlib"], how!("compression-zlib", Zlib)),
        method("application/x-bz2", &["bzip2", "bzip"], how!("compression-bzip2", Bzip2)),
        method("application/x-lzma", &["lzma", "xz"], how!("compression-lzma", Lzma)),
        method("application/zstd", &["zstd", "zstandard"], how!("compression-zstd", Zstd)),
        method("application/x-brotli", &["brotli"], how!("compression-brotli", Brotli)),
    ]
}

/// Python's `zlib`: level 6, RFC 1950.
#[cfg(feature = "compression-zlib")]
struct Zlib;

#[cfg(feature = "compression-zlib")]
impl Compressor for Zlib {
    fn compress(&self, body: &[u8]) -> Result<Vec<u8>> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(body).and_then(|()| encoder.finish()).map_err(not_compressed)
    }

    fn decompress(&self, body: &[u8], limit: usize) -> Result<Vec<u8>> {
        read_to_limit(flate2::bufread::ZlibDecoder::new(body), limit)
    }
}

/// Python's `bz2`: level 9; a body may be several streams.
#[cfg(feature = "compression-bzip2")]
struct Bzip2;

#[cfg(feature = "compression-bzip2")]
impl Compressor for Bzip2 {
    fn compress(&self, body: &[u8]) -> Result<Vec<u8>> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
        encoder.write_all(body).and_then(|()| encoder.finish()).map_err(not_compressed)
    }

    fn decompress(&self, body: &[u8], limit: usize) -> Result<Vec<u8>> {
        read_to_limit(bzip2::bufread::MultiBzDecoder::new(body), limit)
    }
}

/// Python's `lzma`: .xz with CRC64 at preset 6; reads the older .lzma too.
#[cfg(feature = "compression-lzma")]
struct Lzma;

#[cfg(feature = "compression-lzma")]
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

/// Python's `compression.zstd`: level 3, the size in the frame.
#[cfg(feature = "compression-zstd")]
struct Zstd;

#[cfg(feature = "compression-zstd")]
impl Compressor for Zstd {
    fn compress(&self, body: &[u8]) -> Result<Vec<u8>> {
        zstd::bulk::compress(body, 3).map_err(not_compressed)
    }

    fn decompress(&self, body: &[u8], limit: usize) -> Result<Vec<u8>> {
        read_to_limit(zstd::stream::read::Decoder::with_buffer(body).map_err(damaged)?, limit)
    }
}

/// Python's `brotli`: quality 11, window 22.
#[cfg(feature = "compression-brotli")]
struct Brotli;

#[cfg(feature = "compression-brotli")]
impl Compressor for Brotli {
    fn compress(&self, body: &[u8]) -> Result<Vec<u8>> {
        let mut compressed = Vec::new();
        let encoder = brotli::CompressorReader::new(body, BROTLI_BUFFER, 11, 22);
        { encoder }.read_to_end(&mut compressed).map_err(not_compressed)?;
        Ok(compressed)
    }

    fn decompress(&self, body: &[u8], limit: usize) -> Result<Vec<u8>> {
        read_to_limit(brotli::Decompressor::new(body, BROTLI_BUFFER), limit)
    }
}

#[cfg(feature = "compression-brotli")]
const BROTLI_BUFFER: usize = 32 * 1024;
