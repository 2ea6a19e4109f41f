//! Giving back a message that a blocking pop took and nothing could record: it is pushed where it was, and that is all.
//!
//! Sent again after a lost answer it may be there twice, so the repetition says that it may be a double.

use std::sync::Arc;

use bytes::Bytes;

use crate::connection::{Fate, command};
use crate::envelope::{self, Limits, Prepared};
use crate::options::BodyEncoding;
use crate::publish::REPUBLISHED;
use crate::request::Request;
use crate::session::Session;
use crate::tags::Tags;

/// A message that is pushed back.
pub(crate) struct PushBack {
    list: Arc<str>,
    text: Bytes,
}

impl PushBack {
    /// Sends it.
    pub(crate) fn submit(session: &Session, list: Arc<str>, text: Bytes) {
        let back = PushBack { list, text };
        let bytes = back.to_bytes();
        session.submit(Request::PushBack(Box::new(back)), &bytes);
    }

    /// Returns the command.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        command::command(&mut out, &[b"RPUSH", self.list.as_bytes(), &self.text]);
        out
    }

    /// Writes it once more after its answer was lost, marked as a possible double.
    pub(crate) fn write_again(&mut self, session: &Session) -> Fate {
        if let Some(marked) = marked(&self.text, &session.limits, session.options.body_encoding, &session.tags) {
            self.text = marked;
        }
        Fate::Replace(self.to_bytes(), 1)
    }
}

/// Returns the message with the mark, or `None` for what is no message and bears none.
fn marked(text: &Bytes, limits: &Limits, encoding: BodyEncoding, tags: &Tags) -> Option<Bytes> {
    let mut envelope = envelope::read(text, limits).ok()?.envelope;
    envelope.headers.table_mut().insert(REPUBLISHED, true);
    Some(Prepared::new(&envelope, encoding).ok()?.copy(tags).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repetition_says_that_it_may_be_a_double_and_nothing_else_changes() {
        let text = r#"{"body": "aGk=", "content-type": "text/plain", "content-encoding": "utf-8", "headers": {"id": 7},
            "properties": {"priority": 9, "delivery_tag": "t", "body_encoding": "base64",
            "delivery_info": {"exchange": "e", "routing_key": "k"}}}"#;
        let limits = Limits::default();
        let again = marked(&text.into(), &limits, BodyEncoding::Base64, &Tags::new()).unwrap();
        let (first, again) = (envelope::read(&text.into(), &limits).unwrap(), envelope::read(&again, &limits).unwrap());
        assert_ne!(first.delivery_tag, again.delivery_tag);
        assert_eq!(first.list_priority, again.list_priority);
        let mut expected = first.envelope;
        expected.headers.table_mut().insert(REPUBLISHED, true);
        assert_eq!(again.envelope.headers, expected.headers);
        assert_eq!((&again.envelope.body[..], &again.envelope.routing_key), (&b"hi"[..], &expected.routing_key));
        assert_eq!(marked(&Bytes::from_static(b"rubbish"), &limits, BodyEncoding::Base64, &Tags::new()), None);
    }
}
