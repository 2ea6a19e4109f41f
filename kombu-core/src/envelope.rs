//! What travels: address, properties, headers, body.

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

#[cfg(test)]
mod tests {
    use super::*;

    /// With the counters of its `Arc`, an envelope is as large as glibc's allocator serves from its quickest lists. It is the
    /// one allocation of a message on `memory://`; `benches/` shows the difference.
    #[test]
    fn an_envelope_stays_small() {
        assert!(size_of::<Envelope>() <= 104, "{}", size_of::<Envelope>());
    }
}
