//! Writing an envelope.

use std::cell::Cell;

use kombu_core::serialization::json;
use kombu_core::{Envelope, Result};

use super::body;
use super::properties::{self, DELIVERY_INFO};
use crate::options::BodyEncoding;
use crate::tags::Tags;

/// An envelope that is complete but for its delivery tag.
///
/// Every queue gets a copy with a tag of its own: two copies under one tag would share one entry in `unacked`, and the first
/// to be acknowledged would take the other with it.
///
/// Its memory is used again by the thread, so that a publish that is sent at once allocates none for its text.
#[derive(Debug)]
pub(crate) struct Prepared(Vec<u8>);

impl Prepared {
    /// Writes all that the copies of `envelope` have in common.
    ///
    /// Headers that came as JSON and were not changed are written as they came.
    ///
    /// # Errors
    ///
    /// `Encode` when a header or property cannot be written.
    pub(crate) fn new(envelope: &Envelope, encoding: BodyEncoding) -> Result<Self> {
        let headers = envelope.headers.json_text().map_or(64, |text| text.len());
        let mut prepared = Prepared(SPARE.take());
        let text = &mut prepared.0;
        text.reserve(envelope.body.len().div_ceil(3) * 4 + headers + USUAL_REST);
        write(envelope, encoding, text).map_err(|error| error.during("envelope"))?;
        Ok(prepared)
    }

    /// Returns it with no more memory than it needs: it has to wait.
    pub(crate) fn kept(mut self) -> Self {
        self.0.shrink_to_fit();
        self
    }

    /// Returns the length in bytes of a copy with a tag of `tag_length` bytes.
    pub(crate) fn len(&self, tag_length: usize) -> usize {
        self.0.len() + tag_length + TAIL.len()
    }

    /// Writes a copy at the end of `out`. `tag` is text that needs no escaping inside JSON, such as a UUID.
    pub(crate) fn write(&self, tag: &str, out: &mut Vec<u8>) {
        debug_assert!(tag.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\'));
        out.reserve(self.len(tag.len()));
        out.extend_from_slice(&self.0);
        out.extend_from_slice(tag.as_bytes());
        out.extend_from_slice(TAIL);
    }

    /// Returns a copy with a tag of its own.
    pub(crate) fn copy(&self, tags: &Tags) -> Vec<u8> {
        let mut text = Vec::new();
        self.write(&tags.tag(), &mut text);
        text
    }

    /// Returns a copy with a tag.
    #[cfg(test)]
    pub(crate) fn to_vec(&self, tag: &str) -> Vec<u8> {
        let mut text = Vec::new();
        self.write(tag, &mut text);
        text
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if self.0.capacity() <= MAX_SPARE {
            let mut text = std::mem::take(&mut self.0);
            text.clear();
            // A thread that ends has no use for it.
            let _ = SPARE.try_with(|spare| spare.set(text));
        }
    }
}

fn write(envelope: &Envelope, encoding: BodyEncoding, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(b"{\"body\": ");
    let body_encoding = body::write(envelope, encoding, out)?;
    out.extend_from_slice(b", \"content-encoding\": ");
    json::write(&envelope.properties.content_encoding(), out)?;
    out.extend_from_slice(b", \"content-type\": ");
    json::write(&envelope.properties.content_type(), out)?;
    out.extend_from_slice(b", \"headers\": ");
    match envelope.headers.json_text() {
        Some(text) => out.extend_from_slice(text),
        None => json::write(envelope.headers.table(), out)?,
    }
    out.extend_from_slice(b", \"properties\": {\"delivery_info\": {\"exchange\": ");
    json::write(envelope.exchange.as_str(), out)?;
    out.extend_from_slice(b", \"routing_key\": ");
    json::write(envelope.routing_key.as_str(), out)?;
    let others = envelope.properties.rare().and_then(|rare| rare.other.get(DELIVERY_INFO)?.as_map());
    for (name, value) in others.into_iter().flatten() {
        if !matches!(&**name, "exchange" | "routing_key") {
            properties::write_entry(name, value, out)?;
        }
    }
    out.extend_from_slice(b"}, ");
    properties::write(&envelope.properties, out)?;
    out.extend_from_slice(b", \"body_encoding\": \"");
    out.extend_from_slice(body_encoding.as_bytes());
    out.extend_from_slice(b"\", \"delivery_tag\": \"");
    Ok(())
}

/// What follows the delivery tag.
const TAIL: &[u8] = b"\"}}";

/// About what an envelope takes besides body and headers.
const USUAL_REST: usize = 384;

thread_local! {
    /// The memory of the last one, empty.
    static SPARE: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// How much memory a thread keeps for the next.
const MAX_SPARE: usize = 64 * 1024;
