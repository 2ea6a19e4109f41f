//! The properties of a message.

use std::time::Duration;

use crate::FieldTable;
use crate::short_str::ShortStr;

/// Whether the broker keeps a message over its own restart (AMQP `delivery-mode`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DeliveryMode {
    /// Kept in memory only.
    Transient = 1,
    /// Written to disk by brokers that can; the default, as in Kombu.
    #[default]
    Persistent = 2,
}

impl DeliveryMode {
    /// Returns AMQP's number: 1 or 2.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Reads AMQP's number; everything but 1 counts as persistent.
    pub fn from_number(number: u8) -> Self {
        if number == 1 { DeliveryMode::Transient } else { DeliveryMode::Persistent }
    }
}

/// The properties AMQP defines for a message (AMQP 0-9-1 `basic` class), but for the headers, which are
/// [`Headers`](crate::Headers).
///
/// Two words in size: the usual content types are held as a number, and what few messages have is held apart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Properties {
    /// What few messages have.
    rare: Option<Box<RareProperties>>,
    content: Content,
    /// Whether the broker keeps the message over its restart; default persistent.
    pub delivery_mode: DeliveryMode,
    /// The priority; what it means is up to the queue and the transport. Kombu always writes one: 0 unless given.
    pub priority: Option<u8>,
}

/// Content type and encoding: one of the usual pairs, or one that is written out elsewhere, such as in [`RareProperties`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Content {
    #[default]
    Rare,
    Json,
    Text,
    Data,
}

impl Content {
    const USUAL: [(Content, &'static str, &'static str); 3] = [
        (Content::Json, "application/json", "utf-8"),
        (Content::Text, "text/plain", "utf-8"),
        (Content::Data, "application/data", "binary"),
    ];

    /// Returns the name of a pair that is usual.
    #[inline]
    pub(crate) fn of(content_type: &str, content_encoding: &str) -> Self {
        let usual =
            Self::USUAL.iter().find(|(_, kind, encoding)| (content_type, content_encoding) == (*kind, *encoding));
        usual.map_or(Content::Rare, |(content, ..)| *content)
    }

    /// Returns the pair, if it is usual.
    pub(crate) fn usual(self) -> Option<(&'static str, &'static str)> {
        Self::USUAL.iter().find(|(content, ..)| *content == self).map(|(_, kind, encoding)| (*kind, *encoding))
    }
}

/// The properties most messages do without.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RareProperties {
    content_type: Option<ShortStr>,
    content_encoding: Option<ShortStr>,
    /// Names the request a reply belongs to.
    pub correlation_id: Option<ShortStr>,
    /// Names the queue for replies.
    pub reply_to: Option<ShortStr>,
    /// How long the message may wait in a queue, in whole milliseconds on the wire.
    pub expiration: Option<Duration>,
    /// The application's name of the message.
    pub message_id: Option<ShortStr>,
    /// When the message was made, in seconds since 1970 UTC.
    pub timestamp: Option<u64>,
    /// The application's type of the message (AMQP `type`).
    pub kind: Option<ShortStr>,
    /// The user that published; RabbitMQ checks it against the connection's user.
    pub user_id: Option<ShortStr>,
    /// The application that published.
    pub app_id: Option<ShortStr>,
    /// Unused remnant of AMQP 0-8, passed through.
    pub cluster_id: Option<ShortStr>,
    /// Whatever else Kombu's `publish` was given; kept by the transports that use Kombu's envelope.
    pub other: FieldTable,
}

macro_rules! text_properties {
    ($($(#[$doc:meta])* $name:ident, $set:ident;)*) => {
        $(
            $(#[$doc])*
            pub fn $name(&self) -> Option<&str> {
                self.rare.as_ref()?.$name.as_deref()
            }

            /// Sets the property of that name.
            pub fn $set(&mut self, value: impl Into<ShortStr>) {
                self.rare_mut().$name = Some(value.into());
            }
        )*
    };
}

impl Properties {
    /// Returns the properties that a publish starts with: a usual pair of content type and encoding, or the one written out.
    #[inline]
    pub(crate) fn of_publish(content: Content, written_out: Option<Box<(ShortStr, ShortStr)>>) -> Self {
        let mut properties =
            Properties { rare: None, content, delivery_mode: DeliveryMode::Persistent, priority: Some(0) };
        if let Some(names) = written_out {
            let (content_type, content_encoding) = *names;
            properties.set_content(Some(content_type), Some(content_encoding));
        }
        properties
    }

    text_properties! {
        /// Returns the name of the request this reply belongs to.
        correlation_id, set_correlation_id;
        /// Returns the name of the queue for replies.
        reply_to, set_reply_to;
        /// Returns the application's name of the message.
        message_id, set_message_id;
        /// Returns the application's type of the message (AMQP `type`).
        kind, set_kind;
        /// Returns the user that published.
        user_id, set_user_id;
        /// Returns the application that published.
        app_id, set_app_id;
        /// Returns the remnant of AMQP 0-8.
        cluster_id, set_cluster_id;
    }

    /// Returns the media type of the body, such as `application/json`.
    pub fn content_type(&self) -> Option<&str> {
        match self.content.usual() {
            Some((content_type, _)) => Some(content_type),
            None => self.rare.as_ref()?.content_type.as_deref(),
        }
    }

    /// Returns the character set of the body, such as `utf-8`, or `binary`.
    pub fn content_encoding(&self) -> Option<&str> {
        match self.content.usual() {
            Some((_, content_encoding)) => Some(content_encoding),
            None => self.rare.as_ref()?.content_encoding.as_deref(),
        }
    }

    /// Sets content type and encoding.
    #[inline]
    pub fn set_content(&mut self, content_type: Option<ShortStr>, content_encoding: Option<ShortStr>) {
        self.content = match (&content_type, &content_encoding) {
            (Some(content_type), Some(content_encoding)) => Content::of(content_type, content_encoding),
            _ => Content::Rare,
        };
        if self.content == Content::Rare && (content_type.is_some() || content_encoding.is_some()) {
            let rare = self.rare_mut();
            (rare.content_type, rare.content_encoding) = (content_type, content_encoding);
        } else if let Some(rare) = &mut self.rare {
            (rare.content_type, rare.content_encoding) = (None, None);
        }
    }

    /// Returns how long the message may wait in a queue.
    pub fn expiration(&self) -> Option<Duration> {
        self.rare.as_ref()?.expiration
    }

    /// Sets how long the message may wait in a queue; the wire holds whole milliseconds, the rest is cut off as in Kombu.
    pub fn set_expiration(&mut self, expiration: Duration) {
        self.rare_mut().expiration = Some(expiration);
    }

    /// Returns when the message was made, in seconds since 1970 UTC.
    pub fn timestamp(&self) -> Option<u64> {
        self.rare.as_ref()?.timestamp
    }

    /// Sets when the message was made, in seconds since 1970 UTC.
    pub fn set_timestamp(&mut self, seconds: u64) {
        self.rare_mut().timestamp = Some(seconds);
    }

    /// Makes all of them what they are by default.
    #[inline]
    pub(crate) fn clear(&mut self) {
        if self.rare.is_some() {
            self.rare = None;
        }
        (self.content, self.delivery_mode, self.priority) = Default::default();
    }

    /// Returns the properties most messages do without, if there is one.
    pub fn rare(&self) -> Option<&RareProperties> {
        self.rare.as_deref()
    }

    /// Returns the properties most messages do without, for changing.
    pub fn rare_mut(&mut self) -> &mut RareProperties {
        self.rare.get_or_insert_default()
    }
}
