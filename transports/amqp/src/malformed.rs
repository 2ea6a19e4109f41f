//! What was set aside: for each queue a queue of its own, which any client can read.
//!
//! `_kombu.rs.malformed.<queue>` holds copies of the messages, bodies, properties and headers as they were, and in headers
//! what is known beside them. What would make the broker refuse the copy, route it elsewhere or let it expire is moved into
//! headers, too. The oldest is at the front.

use std::time::{SystemTime, UNIX_EPOCH};

use kombu_core::value::DateTime;
use kombu_core::{Delivery, DeliveryMode, Envelope, Malformed, ShortStr, Value};

/// Returns the name of the queue that keeps what was set aside from `queue`. AMQP's names end at 255 bytes: a longer one is cut,
/// and ends in a number that tells it from others that begin alike.
pub(crate) fn queue_name(queue: &str) -> ShortStr {
    let whole = format!("{PREFIX}{queue}");
    if whole.len() <= ShortStr::MAX_LEN {
        return whole.into();
    }
    // FNV-1a: the same in every process, and for ever.
    let hash = queue
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
    format!("{}.{hash:016x}", cut(&whole, ShortStr::MAX_LEN - 17)).into()
}

/// Returns the copy to be kept of a message from `queue` that is set aside at the time `at` for `reason`.
pub(crate) fn copy(envelope: &Envelope, queue: &str, reason: &str, at: SystemTime) -> Envelope {
    let mut copy = Envelope { exchange: ShortStr::default(), routing_key: queue_name(queue), ..envelope.clone() };
    copy.properties.delivery_mode = DeliveryMode::Persistent;
    let headers = copy.headers.table_mut();
    for header in MOVED_HEADERS {
        if let Some(value) = headers.remove(header) {
            headers.insert(format!("x-set-aside-{}", header.to_ascii_lowercase()), value);
        }
    }
    // The count of a queue it is no longer in.
    headers.remove("x-delivery-count");
    headers.insert(QUEUE, queue);
    headers.insert(REASON, cut(reason, LONGEST_REASON));
    if let Ok(at) = DateTime::try_from(at) {
        headers.insert(AT, Value::DateTime(at));
    }
    headers.insert("x-set-aside-exchange", envelope.exchange.clone());
    headers.insert("x-set-aside-routing-key", envelope.routing_key.clone());
    if let Some(rare) = envelope.properties.rare() {
        if let Some(expiration) = rare.expiration {
            headers.insert("x-set-aside-expiration", i64::try_from(expiration.as_millis()).unwrap_or(i64::MAX));
        }
        if let Some(user) = &rare.user_id {
            headers.insert("x-set-aside-user-id", user.clone());
        }
        let rare = copy.properties.rare_mut();
        (rare.expiration, rare.user_id) = (None, None);
    }
    copy
}

/// Reads a copy. What others put there has no known reason.
pub(crate) fn read(queue: &ShortStr, kept: &Delivery) -> Malformed {
    let headers = &kept.envelope.headers;
    let at = match headers.get(AT) {
        Some(Value::DateTime(at)) => at.to_system_time(),
        _ => None,
    };
    Malformed {
        queue: queue.clone(),
        raw: kept.envelope.body.clone(),
        reason: headers.get(REASON).and_then(Value::as_str).unwrap_or_default().to_owned(),
        at: at.unwrap_or(UNIX_EPOCH),
    }
}

/// Returns as much of `text` as fits into `most` bytes.
fn cut(text: &str, most: usize) -> &str {
    let end = (0..=most.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

const PREFIX: &str = "_kombu.rs.malformed.";
const QUEUE: &str = "x-set-aside-queue";
const REASON: &str = "x-set-aside-reason";
const AT: &str = "x-set-aside-at";
/// Headers by which RabbitMQ routes to further queues.
const MOVED_HEADERS: [&str; 2] = ["CC", "BCC"];
/// All headers together have to fit into a frame.
const LONGEST_REASON: usize = 4_000;

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use kombu_core::DeliveryTag;

    use super::*;

    #[test]
    fn a_copy_stays_and_tells_where_it_came_from() {
        let mut envelope =
            Envelope { exchange: "e".into(), routing_key: "k".into(), body: "body".into(), ..Envelope::default() };
        envelope.properties.delivery_mode = DeliveryMode::Transient;
        envelope.properties.set_expiration(Duration::from_millis(1500));
        envelope.properties.set_user_id("somebody");
        envelope.properties.set_message_id("m");
        for (name, value) in [("CC", "elsewhere"), ("mine", "stays")] {
            envelope.headers.table_mut().insert(name, value);
        }
        envelope.headers.table_mut().insert("x-delivery-count", 20);
        let at = UNIX_EPOCH + Duration::from_secs(1_795_351_911);
        let copy = copy(&envelope, "q", "it bites", at);
        assert_eq!((copy.exchange.as_str(), copy.routing_key.as_str()), ("", "_kombu.rs.malformed.q"));
        let properties = &copy.properties;
        assert_eq!((properties.delivery_mode, properties.expiration()), (DeliveryMode::Persistent, None));
        assert_eq!((properties.user_id(), properties.message_id()), (None, Some("m")));
        assert!(copy.headers.get("CC").is_none() && copy.headers.get("x-delivery-count").is_none());
        for (name, value) in [
            ("mine", "stays"),
            ("x-set-aside-cc", "elsewhere"),
            ("x-set-aside-queue", "q"),
            ("x-set-aside-exchange", "e"),
            ("x-set-aside-routing-key", "k"),
            ("x-set-aside-user-id", "somebody"),
        ] {
            assert_eq!(copy.headers.get(name).and_then(Value::as_str), Some(value), "{name}");
        }
        assert_eq!(copy.headers.get("x-set-aside-expiration").and_then(Value::as_i64), Some(1500));
        let kept = Delivery { tag: DeliveryTag(1), redelivered: false, delivery_count: None, envelope: Arc::new(copy) };
        let read = read(&"q".into(), &kept);
        assert_eq!((&read.raw[..], read.reason.as_str(), read.at), (&b"body"[..], "it bites", at));
    }

    #[test]
    fn what_others_put_there_has_no_reason() {
        let envelope = Arc::new(Envelope { body: "x".into(), ..Envelope::default() });
        let read =
            read(&"q".into(), &Delivery { tag: DeliveryTag(1), redelivered: true, delivery_count: None, envelope });
        assert_eq!((&read.raw[..], read.reason.as_str(), read.at), (&b"x"[..], "", UNIX_EPOCH));
    }

    #[test]
    fn long_names_are_cut_and_stay_different() {
        let (one, other) = (format!("{}a", "ö".repeat(120)), format!("{}b", "ö".repeat(120)));
        assert_ne!(queue_name(&one), queue_name(&other));
        assert!(
            queue_name(&one).as_str().len() <= 255 && queue_name(&one).as_str().starts_with("_kombu.rs.malformed.ö")
        );
        assert_eq!(queue_name("q").as_str(), "_kombu.rs.malformed.q");
        assert_eq!((cut("größe", 3), cut("größe", 4), cut("", 9)), ("gr", "grö", ""));
    }
}
