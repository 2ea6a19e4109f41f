//! The members of `properties`, to and from [`Properties`].

use std::time::Duration;

use kombu_core::serialization::json;
use kombu_core::{DeliveryMode, Properties, RareProperties, Result, ShortStr};

use super::malformed;
use super::scan::{Raw, Scanner, unescape_name};

/// What `properties` holds besides [`Properties`].
#[derive(Default)]
pub(super) struct Found<'a> {
    /// The application's properties.
    pub(super) properties: Properties,
    /// The text of `delivery_tag`.
    pub(super) delivery_tag: Option<Raw<'a>>,
    /// The text of `body_encoding`.
    pub(super) body_encoding: Option<Raw<'a>>,
    /// The exchange in `delivery_info`.
    pub(super) exchange: Option<ShortStr>,
    /// The routing key in `delivery_info`.
    pub(super) routing_key: Option<ShortStr>,
    /// Whether `delivery_info` says that it was delivered before.
    pub(super) redelivered: bool,
}

impl<'a> Found<'a> {
    /// Reads the object that is next.
    pub(super) fn read(scanner: &mut Scanner<'a>) -> Result<Self> {
        let mut found = Found::default();
        if !scanner.is_next(b'{') {
            let raw = scanner.value()?;
            return Err(malformed("properties", format_args!("is {} instead of an object", raw.kind())));
        }
        scanner.members(|scanner, name| found.member(scanner, name))?;
        Ok(found)
    }

    fn member(&mut self, scanner: &mut Scanner<'a>, name: &'a str) -> Result<()> {
        if name == "delivery_info" && scanner.is_next(b'{') {
            return scanner.members(|scanner, name| self.delivery_info(name, scanner.value()?));
        }
        let raw = scanner.value()?;
        match name {
            "delivery_tag" => self.delivery_tag = Some(raw),
            "body_encoding" => self.body_encoding = Some(raw),
            // Anything else than an object; what is missing in it is reported later.
            "delivery_info" => {}
            "delivery_mode" => match raw.whole() {
                Some(number @ 1..=2) => self.properties.delivery_mode = DeliveryMode::from_number(number),
                _ => self.keep(name, raw)?,
            },
            "priority" => match raw.whole() {
                Some(priority) => self.properties.priority = Some(priority),
                None => self.keep(name, raw)?,
            },
            "expiration" => match raw.text().and_then(|text| milliseconds(&text)) {
                Some(expiration) => self.properties.set_expiration(expiration),
                None => self.keep(name, raw)?,
            },
            "timestamp" => match raw.whole() {
                Some(seconds) => self.properties.set_timestamp(seconds),
                None => self.keep(name, raw)?,
            },
            _ => match (TEXTS.iter().find(|(known, _)| *known == name), raw.text()) {
                (Some((_, field)), Some(text)) => *field(self.properties.rare_mut()) = Some((&*text).into()),
                _ => self.keep(name, raw)?,
            },
        }
        Ok(())
    }

    fn delivery_info(&mut self, name: &'a str, raw: Raw<'a>) -> Result<()> {
        match name {
            "exchange" => self.exchange = Some(address("properties.delivery_info.exchange", raw)?),
            "routing_key" => self.routing_key = Some(address("properties.delivery_info.routing_key", raw)?),
            "redelivered" => self.redelivered = raw.as_str() == "true",
            _ => {
                let value = raw.decode().map_err(|error| unreadable("properties.delivery_info", name, error))?;
                let other = &mut self.properties.rare_mut().other;
                if let Some(info) = other.get_mut(DELIVERY_INFO).and_then(|info| info.as_map_mut()) {
                    info.insert(unescape_name(name)?, value);
                } else {
                    other.insert(DELIVERY_INFO, kombu_core::FieldTable::from([(unescape_name(name)?, value)]));
                }
            }
        }
        Ok(())
    }

    /// Keeps a member that has no field of its own, or does not fit it.
    fn keep(&mut self, name: &str, raw: Raw<'_>) -> Result<()> {
        let value = raw.decode().map_err(|error| unreadable("properties", name, error))?;
        self.properties.rare_mut().other.insert(unescape_name(name)?, value);
        Ok(())
    }

    /// Keeps a member of the envelope that nobody knows, unless a property has its name.
    pub(super) fn keep_outer(&mut self, name: &str, raw: Raw<'_>) -> Result<()> {
        let value = raw.decode().map_err(|error| unreadable("envelope", name, error))?;
        let name = unescape_name(name)?;
        let known = is_own(&name) || TEXTS.iter().any(|(text, _)| *text == &*name);
        if !known && self.properties.rare().is_none_or(|rare| !rare.other.contains_key(&name)) {
            self.properties.rare_mut().other.insert(name, value);
        }
        Ok(())
    }
}

/// Reads the exchange or routing key; null counts as empty.
fn address(field: &'static str, raw: Raw<'_>) -> Result<ShortStr> {
    if raw.is_null() {
        return Ok(ShortStr::default());
    }
    match raw.text() {
        Some(text) => Ok((&*text).into()),
        None if raw.as_str().starts_with('"') => Err(malformed(field, "is text that is not valid Unicode")),
        None => Err(malformed(field, format_args!("is {} instead of text", raw.kind()))),
    }
}

/// Reads decimal text the way it is written, so that it is written back alike.
fn milliseconds(text: &str) -> Option<Duration> {
    let canonical = text == "0" || !text.starts_with(['0', '+', '-']);
    text.parse().ok().filter(|_| canonical).map(Duration::from_millis)
}

#[cold]
fn unreadable(field: &'static str, name: &str, error: kombu_core::Error) -> kombu_core::Error {
    malformed(field, format_args!("holds `{}`, which cannot be read", name.escape_default())).caused_by(error)
}

/// Writes `"name": value` for everything but delivery tag, delivery info and body encoding, separated by `, `.
pub(super) fn write(properties: &Properties, out: &mut Vec<u8>) -> Result<()> {
    let other = |name: &str| properties.rare().and_then(|rare| rare.other.get(name));
    out.extend_from_slice(b"\"delivery_mode\": ");
    match (properties.delivery_mode, other("delivery_mode")) {
        (DeliveryMode::Persistent, Some(value)) => json::write(value, out)?,
        (mode, _) => out.push(b'0' + mode.number()),
    }
    out.extend_from_slice(b", \"priority\": ");
    match (properties.priority, other("priority")) {
        (Some(priority), _) => json::write(&priority, out)?,
        (None, Some(value)) => json::write(value, out)?,
        // Kombu always writes one.
        (None, None) => out.push(b'0'),
    }
    match properties.rare() {
        Some(rare) => write_rare(rare, out),
        None => Ok(()),
    }
}

fn write_rare(rare: &RareProperties, out: &mut Vec<u8>) -> Result<()> {
    let expiration = rare.expiration.map(|expiration| expiration.as_millis().to_string());
    let texts = [
        ("correlation_id", rare.correlation_id.as_deref()),
        ("reply_to", rare.reply_to.as_deref()),
        ("message_id", rare.message_id.as_deref()),
        ("type", rare.kind.as_deref()),
        ("user_id", rare.user_id.as_deref()),
        ("app_id", rare.app_id.as_deref()),
        ("cluster_id", rare.cluster_id.as_deref()),
        ("expiration", expiration.as_deref()),
    ];
    for (name, text) in &texts {
        if let Some(text) = text {
            write_name(name, out)?;
            json::write(text, out)?;
        }
    }
    if let Some(timestamp) = rare.timestamp {
        write_name("timestamp", out)?;
        json::write(&timestamp, out)?;
    }
    for (name, value) in &rare.other {
        let is_set = match &**name {
            "timestamp" => rare.timestamp.is_some(),
            name => is_own(name) || texts.iter().any(|(known, text)| *known == name && text.is_some()),
        };
        if !is_set {
            write_entry(name, value, out)?;
        }
    }
    Ok(())
}

fn write_name(name: &str, out: &mut Vec<u8>) -> Result<()> {
    out.extend_from_slice(b", ");
    json::write(name, out)?;
    out.extend_from_slice(b": ");
    Ok(())
}

/// Writes `, "name": value`; the name may hold what only a map can write, so a map of one entry writes both.
pub(super) fn write_entry(name: &ShortStr, value: &kombu_core::Value, out: &mut Vec<u8>) -> Result<()> {
    out.push(b',');
    let brace = out.len();
    json::write(&kombu_core::FieldTable::from([(name, value.clone())]), out)?;
    out[brace] = b' ';
    out.pop();
    Ok(())
}

/// Says whether this transport writes the member by itself, from the typed field or otherwise.
fn is_own(name: &str) -> bool {
    matches!(name, "delivery_mode" | "priority" | "delivery_tag" | "body_encoding" | DELIVERY_INFO)
}

/// Where members of `delivery_info` that nobody knows are kept.
pub(super) const DELIVERY_INFO: &str = "delivery_info";

type TextField = fn(&mut RareProperties) -> &mut Option<ShortStr>;

const TEXTS: &[(&str, TextField)] = &[
    ("correlation_id", |rare| &mut rare.correlation_id),
    ("reply_to", |rare| &mut rare.reply_to),
    ("message_id", |rare| &mut rare.message_id),
    ("type", |rare| &mut rare.kind),
    ("user_id", |rare| &mut rare.user_id),
    ("app_id", |rare| &mut rare.app_id),
    ("cluster_id", |rare| &mut rare.cluster_id),
];
