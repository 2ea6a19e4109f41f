//! Reading an envelope.

use bytes::Bytes;
use kombu_core::{Envelope, Headers, Result, ShortStr};

use super::body::{self, Encoding};
use super::properties::Found;
use super::scan::{Raw, Scanner};
use super::{list_priority, malformed};
use crate::options::RedisOptions;

/// What [`read`] accepts.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// The largest envelope in bytes; default 128 MiB.
    pub(crate) max_message_size: usize,
    /// How deep lists and maps may nest; default 512.
    pub(crate) max_nesting: usize,
    /// Whether an envelope without `delivery_info` is accepted, as Kombu's consumers without acknowledgement do; default no.
    pub(crate) no_ack: bool,
}

impl Limits {
    /// Returns the limits that `options` set.
    pub(crate) fn new(options: &RedisOptions) -> Self {
        Limits { max_message_size: options.max_message_size, max_nesting: options.max_nesting, no_ack: false }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            max_message_size: RedisOptions::MAX_MESSAGE_SIZE,
            max_nesting: RedisOptions::MAX_NESTING,
            no_ack: false,
        }
    }
}

/// A message, and what its envelope says of its way here.
#[derive(Debug)]
pub(crate) struct Received {
    /// The message.
    pub(crate) envelope: Envelope,
    /// Whether it was delivered before: one of the three places where Kombu notes that says so.
    pub(crate) redelivered: bool,
    /// How often it was given back, by the count our own consumers keep in header `x-delivery-count`.
    pub(crate) delivery_count: Option<u32>,
    /// When it expires, by the server's time in milliseconds since 1970; 0 at once, unless a consumer waits for it. Ours are stamped with that
    /// when they are put into a queue.
    pub(crate) expires_at: Option<u64>,
    /// The publisher's delivery tag; the JSON text of one that is no text.
    #[cfg_attr(not(test), allow(dead_code, reason = "for telling copies of one broadcast apart"))]
    pub(crate) delivery_tag: ShortStr,
    /// The priority by which its list was chosen, 0 to 9.
    pub(crate) list_priority: u8,
}

/// Reads an envelope.
///
/// The headers are checked for being well-formed and read when they are first looked at. They share the memory of `text`
/// unless that would keep a large body alive.
///
/// # Errors
///
/// `Decode` for everything a Kombu consumer fails on, naming the field or the place in the text.
pub(crate) fn read(text: &Bytes, limits: &Limits) -> Result<Received> {
    read_fields(text, limits).map_err(|error| error.during("envelope"))
}

fn read_fields(text: &Bytes, limits: &Limits) -> Result<Received> {
    if text.len() > limits.max_message_size {
        let limit = limits.max_message_size;
        return Err(malformed(
            "envelope",
            format_args!("has {} bytes, more than max_message_size={limit}", text.len()),
        ));
    }
    let mut fields = Fields::read(text, limits)?;
    let mut found = fields.properties.take().ok_or_else(|| malformed("properties", "is missing"))?;
    for (name, raw) in fields.others {
        found.keep_outer(name, raw)?;
    }
    let delivery_tag = delivery_tag(found.delivery_tag)?;
    let address = |field, name: Option<ShortStr>| match name {
        None if !limits.no_ack => Err(malformed(field, "is missing")),
        name => Ok(name.unwrap_or_default()),
    };
    let mut properties = found.properties;
    let content_type = content("content-type", fields.content_type)?;
    properties.set_content(content_type, content("content-encoding", fields.content_encoding)?);
    let envelope = Envelope {
        exchange: address("properties.delivery_info.exchange", found.exchange)?,
        routing_key: address("properties.delivery_info.routing_key", found.routing_key)?,
        properties,
        headers: headers(text, fields.headers)?,
        body: body::read(fields.body, Encoding::read(found.body_encoding)?)?,
    };
    Ok(Received {
        redelivered: fields.redelivered || found.redelivered,
        delivery_count: fields.delivery_count,
        expires_at: fields.expires_at,
        delivery_tag,
        list_priority: list_priority(&envelope),
        envelope,
    })
}

/// The members of an envelope, as text.
#[derive(Default)]
struct Fields<'a> {
    body: Option<Raw<'a>>,
    content_type: Option<Raw<'a>>,
    content_encoding: Option<Raw<'a>>,
    headers: Option<Raw<'a>>,
    properties: Option<Found<'a>>,
    redelivered: bool,
    delivery_count: Option<u32>,
    expires_at: Option<u64>,
    others: Vec<(&'a str, Raw<'a>)>,
}

impl<'a> Fields<'a> {
    fn read(text: &'a [u8], limits: &Limits) -> Result<Self> {
        let mut scanner = Scanner::new(text, limits.max_nesting)?;
        let mut fields = Fields::default();
        scanner.members(|scanner, name| fields.member(scanner, name))?;
        scanner.finish()?;
        Ok(fields)
    }

    fn member(&mut self, scanner: &mut Scanner<'a>, name: &'a str) -> Result<()> {
        match name {
            "body" => self.body = Some(scanner.value()?),
            "content-type" => self.content_type = Some(scanner.value()?),
            "content-encoding" => self.content_encoding = Some(scanner.value()?),
            "headers" if scanner.is_next(b'{') => {
                let start = scanner.at();
                scanner.members(|scanner, name| self.header(name, scanner.value()?))?;
                self.headers = Some(scanner.since(start));
            }
            "headers" => self.headers = Some(scanner.value()?),
            "properties" => self.properties = Some(Found::read(scanner)?),
            "redelivered" => self.redelivered |= scanner.value()?.as_str() == "true",
            "expires_at" => self.expires_at = scanner.value()?.whole(),
            _ => self.others.push((name, scanner.value()?)),
        }
        Ok(())
    }

    fn header(&mut self, name: &str, raw: Raw<'a>) -> Result<()> {
        match name {
            "redelivered" => self.redelivered |= raw.as_str() == "true",
            "x-delivery-count" => self.delivery_count = raw.whole(),
            _ => {}
        }
        Ok(())
    }
}

fn headers(text: &Bytes, raw: Option<Raw<'_>>) -> Result<Headers> {
    let Some(raw) = raw.map(Raw::as_str) else { return Ok(Headers::empty()) };
    let shared = if text.len() - raw.len() <= SHARED_REST {
        text.slice_ref(raw.as_bytes())
    } else {
        Bytes::copy_from_slice(raw.as_bytes())
    };
    Headers::from_json(shared).map_err(|error| malformed("headers", "cannot be read").caused_by(error))
}

fn content(field: &'static str, raw: Option<Raw<'_>>) -> Result<Option<ShortStr>> {
    let Some(raw) = raw.filter(|raw| !raw.is_null()) else { return Ok(None) };
    match raw.text() {
        Some(text) => Ok(Some((&*text).into())),
        None => Err(malformed(field, format_args!("is {} instead of text", raw.kind()))),
    }
}

fn delivery_tag(raw: Option<Raw<'_>>) -> Result<ShortStr> {
    const FIELD: &str = "properties.delivery_tag";
    let raw = raw.ok_or_else(|| malformed(FIELD, "is missing"))?;
    match raw.text() {
        Some(text) => Ok((&*text).into()),
        None if raw.as_str().starts_with(['{', '[']) => Err(malformed(FIELD, format_args!("is {}", raw.kind()))),
        None => Ok(raw.as_str().into()),
    }
}

/// Headers share the memory of an envelope that is at most this many bytes longer than they are.
const SHARED_REST: usize = 4096;
