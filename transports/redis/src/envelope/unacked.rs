//! The values of the hash `unacked`: `[envelope, exchange, routing_key]`.

use bytes::Bytes;
use kombu_core::{Result, ShortStr};

use super::malformed;
use super::read::{Limits, Received, read};
use super::scan::Scanner;

/// A delivered message that waits to be settled.
///
/// Python notes where the message was published to, and publishes it there again when it restores it. Ours name the default
/// exchange and the queue, so that Python's restore puts them back into exactly that queue, where its own entries are lost
/// when the restoring process never declared the exchange, and multiply when several queues are bound to it.
#[derive(Debug)]
pub(crate) struct Unacked {
    /// The envelope's text.
    pub(crate) text: Bytes,
    /// The exchange it is restored through; empty restores into the queue named by `routing_key`.
    pub(crate) exchange: ShortStr,
    /// The routing key it is restored with.
    pub(crate) routing_key: ShortStr,
}

impl Unacked {
    /// Reads a value of the hash.
    ///
    /// # Errors
    ///
    /// `Decode` for what is not a list of an object and two texts; a null counts as an empty text.
    pub(crate) fn read(value: &Bytes, limits: &Limits) -> Result<Self> {
        Self::read_items(value, limits).map_err(|error| error.during("unacked"))
    }

    fn read_items(value: &Bytes, limits: &Limits) -> Result<Self> {
        let mut scanner = Scanner::new(value, limits.max_nesting + 1)?;
        let mut items = [None; 3];
        scanner.items(|scanner, index| {
            let raw = scanner.value()?;
            if let Some(item) = items.get_mut(index) {
                *item = Some(raw);
            }
            Ok(())
        })?;
        scanner.finish()?;
        let [Some(envelope), Some(exchange), Some(routing_key)] = items else {
            return Err(malformed("unacked", "has fewer than three items"));
        };
        if !envelope.as_str().starts_with('{') {
            return Err(malformed("unacked", format_args!("holds {} instead of an envelope", envelope.kind())));
        }
        let name = |field, raw: super::scan::Raw<'_>| match raw.text() {
            Some(text) => Ok(ShortStr::from(&*text)),
            None if raw.is_null() => Ok(ShortStr::default()),
            None => Err(malformed(field, format_args!("is {} instead of text", raw.kind()))),
        };
        Ok(Unacked {
            text: value.slice_ref(envelope.as_str().as_bytes()),
            exchange: name("exchange", exchange)?,
            routing_key: name("routing_key", routing_key)?,
        })
    }

    /// Reads the envelope.
    ///
    /// # Errors
    ///
    /// As [`read`].
    pub(crate) fn envelope(&self, limits: &Limits) -> Result<Received> {
        read(&self.text, limits)
    }
}
