//! Compressed bodies: Kombu's methods, their names and formats.
//!
//! | names | content type in the header `compression` | format | feature |
//! |---|---|---|---|
//! | `gzip`, `zlib` | `application/x-gzip` | a zlib stream (RFC 1950), not gzip | `compression-zlib` |
//! | `bzip2`, `bzip` | `application/x-bz2` | bzip2 | `compression-bzip2` |
//! | `lzma`, `xz` | `application/x-lzma` | .xz | `compression-lzma` |
//! | `zstd`, `zstandard` | `application/zstd` | one zstd frame that tells its size | `compression-zstd` |
//! | `brotli` | `application/x-brotli` | a bare brotli stream | `compression-brotli` |
//!
//! The feature `compression` turns all of them on. The content type itself is a name too. A body is compressed after it was
//! serialized; its content type and encoding keep describing what is inside. [`register`] adds methods.

#[cfg(any(
    feature = "compression-zlib",
    feature = "compression-bzip2",
    feature = "compression-lzma",
    feature = "compression-zstd",
    feature = "compression-brotli"
))]
mod bounded;
#[cfg(feature = "compression-brotli")]
mod brotli;
#[cfg(feature = "compression-bzip2")]
mod bzip2;
#[cfg(feature = "compression-lzma")]
mod lzma;
#[cfg(feature = "compression-zlib")]
mod zlib;
#[cfg(feature = "compression-zstd")]
mod zstd;

use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;
use bytes::Bytes;

use crate::error::{Error, ErrorKind, Result};
use crate::short_str::ShortStr;

/// The largest body [`decompress`] should make unless the program says otherwise: 128 MiB.
pub const DEFAULT_LIMIT: usize = 128 * 1024 * 1024;

/// A way to make bodies smaller, made known by [`register`].
///
/// Its methods are called on whatever thread publishes or receives, also several at once.
pub trait Compressor: Send + Sync {
    /// Returns `body` compressed.
    ///
    /// # Errors
    ///
    /// Kind `Encode` when that fails.
    fn compress(&self, body: &[u8]) -> Result<Vec<u8>>;

    /// Returns what `body` was before, if that is at most `limit` bytes. It must not take much more memory than that.
    ///
    /// # Errors
    ///
    /// Kind `Decode` when `body` is damaged or hides more.
    fn decompress(&self, body: &[u8], limit: usize) -> Result<Vec<u8>>;
}

/// Adds a compression method under its content type and aliases, in front of those of the same name.
pub fn register<A>(content_type: impl Into<ShortStr>, aliases: A, compressor: Arc<dyn Compressor>)
where
    A: IntoIterator<Item: Into<ShortStr>>,
{
    let content_type = content_type.into();
    let names = aliases.into_iter().map(Into::into).collect::<Vec<ShortStr>>();
    let method = Method { content_type, aliases: names, how: How::Present(compressor) };
    METHODS.rcu(|methods| {
        let others = methods.iter().filter(|other| other.content_type != method.content_type);
        std::iter::once(&method).chain(others).cloned().collect::<Vec<_>>()
    });
}

/// Returns the names of all methods that work, aliases included, sorted.
pub fn names() -> Vec<ShortStr> {
    let methods = METHODS.load();
    let present = methods.iter().filter(|method| matches!(method.how, How::Present(_)));
    let mut names: Vec<_> =
        present.flat_map(|method| method.aliases.iter().chain([&method.content_type]).cloned()).collect();
    names.sort();
    names
}

/// Compresses a body and returns it with the content type for the header `compression`.
///
/// # Errors
///
/// `InvalidArgument`, listing what exists, for an unknown method; `Unsupported`, naming the feature, for one that is not
/// compiled in; `Encode` when it fails.
///
/// # Example
///
/// ```
/// # #[cfg(feature = "compression-zlib")] {
/// use kombu_core::compression::{self, DEFAULT_LIMIT};
///
/// let (header, body) = compression::compress("gzip", b"to be or not to be")?;
/// assert_eq!(header, "application/x-gzip");
/// assert_eq!(&compression::decompress(&header, &body, DEFAULT_LIMIT)?[..], b"to be or not to be");
/// # }
/// # Ok::<(), kombu_core::Error>(())
/// ```
pub fn compress(method: &str, body: &[u8]) -> Result<(ShortStr, Bytes)> {
    let (content_type, compressor) = find(method, ErrorKind::InvalidArgument)?;
    let compressed = compressor.compress(body).map_err(|error| error.with("compression", method))?;
    Ok((content_type, compressed.into()))
}

/// Decompresses a body by what its header `compression` says: a content type, or an alias.
///
/// # Errors
///
/// `Decode`, listing what exists, for an unknown method, and when the body is damaged or would grow beyond `limit` bytes;
/// `Unsupported`, naming the feature, for a method that is not compiled in.
pub fn decompress(method: &str, body: &[u8], limit: usize) -> Result<Bytes> {
    let (_, compressor) = find(method, ErrorKind::Decode)?;
    let body = compressor.decompress(body, limit).map_err(|error| error.with("compression", method))?;
    Ok(body.into())
}

#[derive(Clone)]
struct Method {
    content_type: ShortStr,
    aliases: Vec<ShortStr>,
    how: How,
}

#[derive(Clone)]
enum How {
    Present(Arc<dyn Compressor>),
    /// Not compiled in; this feature would.
    #[allow(dead_code, reason = "never made when all features are on")]
    Missing(&'static str),
}

static METHODS: LazyLock<ArcSwap<Vec<Method>>> = LazyLock::new(|| ArcSwap::from_pointee(built_in()));

fn find(name: &str, unknown: ErrorKind) -> Result<(ShortStr, Arc<dyn Compressor>)> {
    let methods = METHODS.load();
    let is_named = |method: &&Method| method.content_type == name || method.aliases.iter().any(|alias| *alias == name);
    match methods.iter().find(is_named).map(|method| (method, &method.how)) {
        Some((method, How::Present(compressor))) => Ok((method.content_type.clone(), compressor.clone())),
        Some((_, How::Missing(feature))) => {
            let message = format!("compression `{name}` is not compiled in; enable the feature `{feature}`");
            Err(Error::new(ErrorKind::Unsupported, message))
        }
        None => {
            let known = names().join(", ");
            Err(Error::new(unknown, format!("unknown compression `{name}`; known: {known}")))
        }
    }
}

macro_rules! how {
    ($feature:literal, $compressor:expr) => {{
        #[cfg(feature = $feature)]
        let how = How::Present(Arc::new($compressor));
        #[cfg(not(feature = $feature))]
        let how = How::Missing($feature);
        how
    }};
}

/// The methods Kombu has, each with the settings of the Python module behind it.
fn built_in() -> Vec<Method> {
    let method = |content_type, aliases: &[&'static str], how| Method {
        content_type: ShortStr::from_static(content_type),
        aliases: aliases.iter().map(|alias| ShortStr::from_static(alias)).collect(),
        how,
    };
    vec![
        method("application/x-gzip", &["gzip", "zlib"], how!("compression-zlib", zlib::Zlib)),
        method("application/x-bz2", &["bzip2", "bzip"], how!("compression-bzip2", bzip2::Bzip2)),
        method("application/x-lzma", &["lzma", "xz"], how!("compression-lzma", lzma::Lzma)),
        method("application/zstd", &["zstd", "zstandard"], how!("compression-zstd", zstd::Zstd)),
        method("application/x-brotli", &["brotli"], how!("compression-brotli", brotli::Brotli)),
    ]
}
