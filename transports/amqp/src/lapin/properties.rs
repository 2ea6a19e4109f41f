//! The properties and headers of a message, to the wire and back.

use std::time::Duration;

use kombu_core::{DeliveryMode, Envelope, Headers, Properties, Result, ShortStr};
use lapin::BasicProperties;
use lapin::types::ShortString;

use super::table::{self, short};

/// Returns what goes into the content header of `envelope`. Headers, delivery mode and priority are always there, as Kombu
/// writes them.
///
/// # Errors
///
/// `Encode` for a header AMQP has no type for, `InvalidArgument` for a property longer than 255 bytes.
pub(super) fn write(envelope: &Envelope) -> Result<BasicProperties> {
    let properties = &envelope.properties;
    let mut written = BasicProperties::default()
        .with_headers(table::write(envelope.headers.table())?)
        .with_delivery_mode(properties.delivery_mode.number())
        .with_priority(properties.priority.unwrap_or(0));
    if let Some(text) = properties.content_type() {
        written = written.with_content_type(short(text, "the content type")?);
    }
    if let Some(text) = properties.content_encoding() {
        written = written.with_content_encoding(short(text, "the content encoding")?);
    }
    let Some(rare) = properties.rare() else { return Ok(written) };
    if let Some(text) = &rare.correlation_id {
        written = written.with_correlation_id(short(text, "the correlation id")?);
    }
    if let Some(text) = &rare.reply_to {
        written = written.with_reply_to(short(text, "the name of the reply queue")?);
    }
    if let Some(expiration) = rare.expiration {
        written = written.with_expiration(short(&expiration.as_millis().to_string(), "the expiration")?);
    }
    if let Some(text) = &rare.message_id {
        written = written.with_message_id(short(text, "the message id")?);
    }
    if let Some(seconds) = rare.timestamp {
        written = written.with_timestamp(seconds);
    }
    if let Some(text) = &rare.kind {
        written = written.with_type(short(text, "the message's type")?);
    }
    if let Some(text) = &rare.user_id {
        written = written.with_user_id(short(text, "the user id")?);
    }
    if let Some(text) = &rare.app_id {
        written = written.with_app_id(short(text, "the application id")?);
    }
    if let Some(text) = &rare.cluster_id {
        written = written.with_cluster_id(short(text, "the cluster id")?);
    }
    Ok(written)
}

/// Returns how many bytes the content header of `envelope` takes, without the frame around it.
pub(super) fn size(envelope: &Envelope) -> usize {
    let properties = &envelope.properties;
    let text = |text: Option<&str>| text.map_or(0, |text| 1 + text.len());
    // Class, weight, length of the body, flags, delivery mode, priority.
    let always = 2 + 2 + 8 + 2 + 1 + 1 + table::size(envelope.headers.table());
    let content = text(properties.content_type()) + text(properties.content_encoding());
    let Some(rare) = properties.rare() else { return always + content };
    let texts = [
        &rare.correlation_id,
        &rare.reply_to,
        &rare.message_id,
        &rare.kind,
        &rare.user_id,
        &rare.app_id,
        &rare.cluster_id,
    ];
    let texts: usize = texts.into_iter().map(|found| text(found.as_deref())).sum();
    let expiration = rare.expiration.map_or(0, |expiration| 1 + expiration.as_millis().to_string().len());
    always + content + texts + expiration + if rare.timestamp.is_some() { 8 } else { 0 }
}

/// Returns the properties and headers of a message that came in.
pub(super) fn read(received: &BasicProperties) -> (Properties, Headers) {
    let mut properties = Properties::default();
    properties.delivery_mode = received.delivery_mode().map_or(DeliveryMode::Transient, DeliveryMode::from_number);
    properties.priority = *received.priority();
    properties.set_content(text(received.content_type()), text(received.content_encoding()));
    if let Some(id) = text(received.correlation_id()) {
        properties.set_correlation_id(id);
    }
    if let Some(queue) = text(received.reply_to()) {
        properties.set_reply_to(queue);
    }
    if let Some(expiration) = received.expiration() {
        match expiration.as_str().parse() {
            Ok(milliseconds) => properties.set_expiration(Duration::from_millis(milliseconds)),
            Err(_) => _ = properties.rare_mut().other.insert("expiration", expiration.as_str()),
        }
    }
    if let Some(id) = text(received.message_id()) {
        properties.set_message_id(id);
    }
    if let Some(seconds) = received.timestamp() {
        properties.set_timestamp(*seconds);
    }
    if let Some(kind) = text(received.kind()) {
        properties.set_kind(kind);
    }
    if let Some(user) = text(received.user_id()) {
        properties.set_user_id(user);
    }
    if let Some(application) = text(received.app_id()) {
        properties.set_app_id(application);
    }
    if let Some(cluster) = text(received.cluster_id()) {
        properties.set_cluster_id(cluster);
    }
    let headers =
        received.headers().as_ref().map_or_else(Headers::empty, |headers| Headers::from(table::read(headers)));
    (properties, headers)
}

fn text(received: &Option<ShortString>) -> Option<ShortStr> {
    received.as_ref().map(|text| ShortStr::from(text.as_str()))
}

#[cfg(test)]
mod tests {
    use kombu_core::FieldTable;

    use super::*;

    #[test]
    fn every_property_comes_back() {
        let mut properties = Properties::default();
        properties.priority = Some(7);
        properties.delivery_mode = DeliveryMode::Transient;
        properties.set_content(Some("application/x-own".into()), Some("binary".into()));
        properties.set_correlation_id("correlation");
        properties.set_reply_to("replies");
        properties.set_expiration(Duration::from_millis(60_500));
        properties.set_message_id("message");
        properties.set_timestamp(1_700_000_000);
        properties.set_kind("kind");
        properties.set_user_id("guest");
        properties.set_app_id("application");
        properties.set_cluster_id("cluster");
        let headers = Headers::from(FieldTable::from([("retries", 3)]));
        let envelope = Envelope { properties, headers, ..Envelope::default() };
        let (properties, headers) = read(&write(&envelope).unwrap());
        assert_eq!((properties, headers), (envelope.properties, envelope.headers));
    }

    #[test]
    fn a_long_property_is_refused() {
        let mut envelope = Envelope::default();
        envelope.properties.set_message_id("x".repeat(256));
        assert!(write(&envelope).unwrap_err().to_string().contains("message id"));
    }
}
