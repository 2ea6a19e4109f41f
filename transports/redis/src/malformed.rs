//! The lists of what was found in queues and is not a message.
//!
//! An element of `_kombu.rs.malformed.<queue>` is a line `{"at": <seconds since 1970>, "reason": "<why>"}` followed by the
//! bytes that were found. The oldest is at the head of the list.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kombu_core::serialization::json;
use kombu_core::{Malformed, Result, ShortStr, Value};

/// Returns the element for `raw`, set aside now for `reason`.
///
/// # Errors
///
/// `Encode`, never for text.
pub(crate) fn entry(raw: &[u8], reason: &str, now: SystemTime) -> Result<Vec<u8>> {
    let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut entry = format!("{{\"at\": {}.{:06}, \"reason\": ", since.as_secs(), since.subsec_micros()).into_bytes();
    json::write(reason, &mut entry)?;
    entry.extend_from_slice(b"}\n");
    entry.extend_from_slice(raw);
    Ok(entry)
}

/// Reads an element. One that others put there is all raw bytes, for no known reason.
pub(crate) fn read(queue: &ShortStr, entry: &Bytes) -> Malformed {
    let unknown = || Malformed { queue: queue.clone(), raw: entry.clone(), reason: String::new(), at: UNIX_EPOCH };
    let Some(end) = memchr::memchr(b'\n', entry) else { return unknown() };
    let Ok(Value::Map(header)) = json::read(&entry[..end]) else { return unknown() };
    let at = header.get("at").and_then(Value::as_f64).and_then(|at| Duration::try_from_secs_f64(at).ok());
    let at = at.and_then(|at| UNIX_EPOCH.checked_add(at));
    let (Some(at), Some(reason)) = (at, header.get("reason").and_then(Value::as_str)) else { return unknown() };
    Malformed { queue: queue.clone(), raw: entry.slice(end + 1..), reason: reason.to_owned(), at }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_read_back() {
        let at = UNIX_EPOCH + Duration::from_micros(1_795_351_911_250_000);
        for raw in [&b""[..], b"\xff\n{", b"{\"a\"}\n"] {
            let entry = entry(raw, "not \"JSON\"\né", at).unwrap();
            let read = read(&"q".into(), &entry.into());
            assert_eq!((&read.raw[..], read.reason.as_str(), read.queue.as_str()), (raw, "not \"JSON\"\né", "q"));
            assert!(read.at.duration_since(at).unwrap_or_default() < Duration::from_micros(2));
        }
    }

    #[test]
    fn what_others_put_there_is_raw() {
        for text in
            ["", "x", "\n", "{}\nx", "{\"at\": \"now\", \"reason\": \"\"}\nx", "{\"at\": 1e999, \"reason\": \"\"}\nx"]
        {
            let read = read(&"q".into(), &Bytes::from(text));
            assert_eq!((&read.raw[..], read.at), (text.as_bytes(), UNIX_EPOCH));
        }
    }
}
