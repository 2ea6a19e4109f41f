//! What travels: address, properties, headers, body.

mod spare;

use std::sync::Arc;

use bytes::Bytes;

use crate::headers::Headers;
use crate::properties::Properties;
use crate::short_str::ShortStr;

/// A message as it travels, before it has a delivery: where it was published to, its properties, headers and body.
///
/// Transports share it as `Arc<Envelope>`, so a message that reaches several queues is stored once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Envelope {
    /// The exchange it was published to; empty for the default exchange.
    pub exchange: ShortStr,
    /// The routing key it was published with.
    pub routing_key: ShortStr,
    /// AMQP's properties.
    pub properties: Properties,
    /// The application's headers.
    pub headers: Headers,
    /// The body, as it was published: serialized, compressed if header `compression` says so.
    pub body: Bytes,
}

impl Envelope {
    /// Puts the message behind an `Arc`, in memory that one before it left where there is some; see [`leave`](Envelope::leave).
    #[inline]
    pub fn share(self) -> Arc<Self> {
        if let Some(mut place) = spare::take()
            // What is kept is nobody else's.
            && let Some(envelope) = Arc::get_mut(&mut place)
        {
            *envelope = self;
            return place;
        }
        Arc::new(self)
    }

    /// Drops a reference to a message; the last one keeps the memory for the next message to [`share`](Envelope::share).
    ///
    /// An envelope is the one allocation of a message on `memory://`, made on one thread and often freed on another, and in bursts;
    /// allocators are slow at both. The body goes at once.
    #[inline]
    pub fn leave(mut this: Arc<Self>) {
        if Arc::strong_count(&this) == 1
            && let Some(envelope) = Arc::get_mut(&mut this)
        {
            // The names stay until they are overwritten: they are short, or shared. All else may be large, or foreign.
            envelope.body = Bytes::new();
            envelope.headers.clear();
            envelope.properties.clear();
            spare::keep(this);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With the counters of its `Arc`, an envelope is as large as glibc's allocator serves from its quickest lists. `benches/`
    /// shows the difference.
    #[test]
    fn an_envelope_stays_small() {
        assert!(size_of::<Envelope>() <= 104, "{}", size_of::<Envelope>());
    }

    #[test]
    fn a_message_in_used_memory_has_nothing_of_the_one_before() {
        let mut first =
            Envelope { exchange: "first".into(), body: Bytes::from_static(b"first"), ..Envelope::default() };
        first.headers.table_mut().insert("x-first", true);
        first.properties.set_message_id("first");
        let first = first.share();
        let place = Arc::as_ptr(&first);
        Envelope::leave(first);
        let second = Envelope { routing_key: "second".into(), ..Envelope::default() }.share();
        assert_eq!(Arc::as_ptr(&second), place);
        assert_eq!(*second, Envelope { routing_key: "second".into(), ..Envelope::default() });
    }

    #[test]
    fn what_somebody_else_holds_is_not_used_again() {
        let held = Envelope { body: Bytes::from_static(b"held"), ..Envelope::default() }.share();
        Envelope::leave(Arc::clone(&held));
        let other = Envelope::default().share();
        assert!(!Arc::ptr_eq(&held, &other));
        assert_eq!(held.body, "held");
    }
}
