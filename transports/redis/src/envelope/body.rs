//! Bodies: bytes to us, text to JSON.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose as base64_engine;
use bytes::Bytes;
use kombu_core::serialization::json;
use kombu_core::{Envelope, Result, Value};

use super::malformed;
use super::scan::Raw;
use crate::options::BodyEncoding;

/// How the text of a body stands for its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    /// As it is.
    Text,
    /// In base64.
    Base64,
}

impl Encoding {
    /// Reads `body_encoding`; none, null, empty and `utf-8` leave the text as it is.
    pub(super) fn read(raw: Option<Raw<'_>>) -> Result<Self> {
        let Some(raw) = raw.filter(|raw| !raw.is_null()) else { return Ok(Encoding::Text) };
        let name = raw.text();
        match name.as_deref() {
            Some("base64") => Ok(Encoding::Base64),
            Some("") => Ok(Encoding::Text),
            Some(name) if name.eq_ignore_ascii_case("utf-8") => Ok(Encoding::Text),
            Some(name) if name.eq_ignore_ascii_case("base64") => Ok(Encoding::Base64),
            Some(name) => {
                Err(malformed("properties.body_encoding", format_args!("is `{}`, which is unknown", clip(name))))
            }
            None => Err(malformed("properties.body_encoding", format_args!("is {} instead of text", raw.kind()))),
        }
    }
}

/// Reads a body. A missing or null body is empty.
pub(super) fn read(raw: Option<Raw<'_>>, encoding: Encoding) -> Result<Bytes> {
    let Some(raw) = raw.filter(|raw| !raw.is_null()) else { return Ok(Bytes::new()) };
    if let Some(text) = raw.text() {
        return match encoding {
            Encoding::Base64 => decode(text.as_bytes()),
            Encoding::Text => Ok(text.into_owned().into()),
        };
    }
    // Kombu makes a typed value of a body that is bytes, when `body_encoding` is not base64.
    let value = raw.decode().map_err(|error| malformed("body", "cannot be read").caused_by(error))?;
    match (value, encoding) {
        (Value::Bytes(bytes), Encoding::Text) => Ok(bytes),
        (Value::Bytes(bytes), Encoding::Base64) => decode(&bytes),
        (Value::LoneText(_), _) => Err(malformed("body", "is text that is not valid Unicode")),
        (other, _) => Err(malformed("body", format_args!("is {} instead of text", other.kind()))),
    }
}

/// Decodes base64; line ends and spaces in it are ignored, as Python ignores them.
fn decode(text: &[u8]) -> Result<Bytes> {
    let decoded = BASE64.decode(text).or_else(|error| {
        let packed: Vec<u8> = text.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
        if packed.len() == text.len() { Err(error) } else { BASE64.decode(packed) }
    });
    decoded.map(Bytes::from).map_err(|error| malformed("body", "is not base64").caused_by(error))
}

/// Writes the body and returns the name of its encoding.
pub(super) fn write(envelope: &Envelope, encoding: BodyEncoding, out: &mut Vec<u8>) -> Result<&'static str> {
    let body = &envelope.body;
    match encoding {
        BodyEncoding::Base64 => {
            out.push(b'"');
            write_base64(body, out);
            out.push(b'"');
            Ok("base64")
        }
        BodyEncoding::Utf8 => {
            match is_text(envelope).then(|| std::str::from_utf8(body).ok()).flatten() {
                Some(text) => json::write(text, out)?,
                None => json::write(&Value::Bytes(body.clone()), out)?,
            }
            Ok("utf-8")
        }
    }
}

fn write_base64(body: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.resize(start + body.len().div_ceil(3) * 4, 0);
    let written = BASE64.encode_slice(body, &mut out[start..]).unwrap_or_default();
    out.truncate(start + written);
}

/// Says whether Kombu's serializer of this content gives text; compressing it, or any other serializer, gives bytes.
fn is_text(envelope: &Envelope) -> bool {
    let content_type = envelope.properties.content_type();
    matches!(content_type, Some("application/json" | "application/x-yaml"))
        && envelope.headers.get("compression").is_none()
}

fn clip(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(40) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// Base64 by the widest instructions that the processor has: a body is most of what is written and read of a message.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
static BASE64: std::sync::LazyLock<base64::engine::Simd> =
    std::sync::LazyLock::new(|| base64::engine::Simd::standard(base64_engine::PAD));

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
static BASE64: base64_engine::GeneralPurpose = base64_engine::STANDARD;
