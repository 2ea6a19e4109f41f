//! Bodies get Kombu's names, and only what is accepted is decoded.

use std::sync::Arc;

use bytes::Bytes;
use kombu_core::serialization::{self, AcceptList, Body, Codec, IntoBody, decode, decode_as, encode};
use kombu_core::{ErrorKind, Json, Msgpack, Raw, Result, Text, Value, Yaml};

fn named(body: &Body) -> (&str, &str, &[u8]) {
    (body.content_type(), body.content_encoding(), &body.bytes)
}

#[test]
fn the_type_of_a_body_names_its_content() {
    let text = ("text/plain", "utf-8", "é".as_bytes());
    for body in ["é".into_body(), String::from("é").into_body(), Text("é").into_body(), Value::from("é").into_body()]
    {
        assert_eq!(named(&body.unwrap()), text);
    }
    let data = ("application/data", "binary", &b"\x00\xff"[..]);
    let bytes = Bytes::from_static(data.2);
    for body in [data.2.into_body(), b"\x00\xff".into_body(), data.2.to_vec().into_body(), bytes.clone().into_body()] {
        assert_eq!(named(&body.unwrap()), data);
    }
    for body in [Raw(vec![0, 255]).into_body(), Value::Bytes(bytes.clone()).into_body()] {
        assert_eq!(named(&body.unwrap()), data);
    }
    let json = ("application/json", "utf-8", &b"[1, null]"[..]);
    for body in [Json((1, ())).into_body(), Json(&(1, ())).into_body(), Value::from([Some(1), None]).into_body()] {
        assert_eq!(named(&body.unwrap()), json);
    }
}

#[test]
fn bytes_are_moved_and_not_copied() {
    let bytes = Bytes::from_static(b"constant");
    assert_eq!(bytes.clone().into_body().unwrap().bytes.as_ptr(), bytes.as_ptr());
    let owned = vec![7; 100];
    let address = owned.as_ptr();
    assert_eq!(owned.into_body().unwrap().bytes.as_ptr(), address);
    let body = decode(&bytes, None, Some("binary"), &AcceptList::default()).unwrap();
    assert_eq!(body.as_bytes().unwrap().as_ptr(), bytes.as_ptr());
}

#[test]
fn a_named_serializer_is_used_whatever_the_value() {
    let text = Value::from("x");
    assert_eq!(named(&encode(&text, Some("json")).unwrap()), ("application/json", "utf-8", &b"\"x\""[..]));
    assert_eq!(named(&encode(&text, Some("raw")).unwrap()), ("application/data", "utf-8", &b"x"[..]));
    let bytes = Value::from(b"x");
    assert_eq!(named(&encode(&bytes, Some("raw")).unwrap()), ("application/data", "binary", &b"x"[..]));
    assert_eq!(encode(&Value::from(1), Some("raw")).unwrap_err().kind(), ErrorKind::Encode);
    assert_eq!(encode(&Value::from_utf16(vec![0xd800]), None).unwrap_err().kind(), ErrorKind::Encode);
    assert_eq!(encode(&text, Some("pickle")).unwrap_err().kind(), ErrorKind::InvalidArgument);
    let error = encode(&text, Some("jsno")).unwrap_err();
    assert!(error.to_string().starts_with("unknown serializer `jsno`; known: json, "), "{error}");
}

#[test]
fn the_default_accepts_json_and_whatever_needs_no_decoder() {
    let accept = AcceptList::default();
    for allowed in ["application/json", "text/plain", "application/data", "application/text", "image/png"] {
        assert!(accept.allows(allowed), "{allowed}");
    }
    for refused in ["application/x-python-serialize", "application/x-msgpack", "application/x-yaml"] {
        let error = decode(&Bytes::from_static(b"x"), Some(refused), None, &accept).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ContentDisallowed, "{refused}");
        assert!(error.to_string().contains(refused), "{error}");
    }
}

#[test]
fn a_list_accepts_what_it_names_and_bytes() {
    let accept = AcceptList::new(["json"]).unwrap();
    let body = Bytes::from_static(b"1");
    assert_eq!(decode(&body, Some("application/json"), None, &accept).unwrap(), Value::Int(1));
    assert_eq!(decode(&body, Some("application/data"), None, &accept).unwrap(), Value::from("1"));
    let error = decode(&body, Some("text/plain"), None, &accept).unwrap_err();
    assert_eq!(error.to_string(), "refusing to decode text (text/plain) (accept=application/json)");

    let nothing = AcceptList::new([] as [&str; 0]).unwrap();
    assert!(!nothing.allows("application/json") && nothing.allows("application/data"));
    assert_eq!(AcceptList::new(["jsno"]).unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(AcceptList::new(["pickle"]).unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn without_a_decoder_the_encoding_decides() {
    let accept = AcceptList::default();
    let latin = Bytes::from_static(b"str\xe9");
    let decoded = |encoding| decode(&latin, Some("text/x-foo"), encoding, &accept);
    assert_eq!(decoded(Some("latin-1")).unwrap(), Value::from("stré"));
    assert_eq!(decoded(Some("Binary")).unwrap(), Value::Bytes(latin.clone()));
    assert_eq!(decoded(Some("ascii-8bit")).unwrap(), Value::Bytes(latin.clone()));
    assert_eq!(decoded(None).unwrap_err().kind(), ErrorKind::Decode);
    let error = decoded(Some("klingon")).unwrap_err();
    assert!(error.to_string().contains("unknown content encoding `klingon`; known: utf-8"), "{error}");
    assert_eq!(decode_as::<String>(&latin, None, Some("latin-1"), &accept).unwrap(), "stré");
    assert_eq!(decode_as::<Vec<u8>>(&latin, None, Some("binary"), &accept).unwrap(), b"str\xe9");
}

#[test]
fn an_empty_body_stays_empty() {
    let accept = AcceptList::default();
    for content_type in [None, Some("application/json"), Some("text/plain"), Some("image/png")] {
        let value = decode(&Bytes::new(), content_type, None, &accept).unwrap();
        assert_eq!(value, Value::Bytes(Bytes::new()));
        assert_eq!(decode_as::<String>(&Bytes::new(), content_type, None, &accept).unwrap(), "");
    }
}

#[test]
fn a_serializer_of_ones_own_can_come_and_go() {
    struct Reverse;
    impl Codec for Reverse {
        fn encode(&self, value: &Value) -> Result<Vec<u8>> {
            Ok(value.as_str().unwrap_or_default().bytes().rev().collect())
        }

        fn decode(&self, body: &[u8]) -> Result<Value> {
            Ok(body.iter().rev().copied().map(char::from).collect::<String>().into())
        }
    }
    serialization::register("reverse", "text/x-reverse", "us-ascii", Arc::new(Reverse));
    assert!(serialization::names().iter().any(|name| *name == "reverse"));
    let body = encode(&Value::from("abc"), Some("reverse")).unwrap();
    assert_eq!(named(&body), ("text/x-reverse", "us-ascii", &b"cba"[..]));
    let accept = AcceptList::new(["reverse"]).unwrap();
    let decoded: String = decode_as(&body.bytes, Some("text/x-reverse"), None, &accept).unwrap();
    assert_eq!(decoded, "abc");

    serialization::disable("reverse").unwrap();
    assert!(!AcceptList::default().allows("text/x-reverse"));
    serialization::enable("reverse").unwrap();
    assert!(AcceptList::default().allows("text/x-reverse"));

    serialization::unregister("reverse").unwrap();
    assert_eq!(decode(&body.bytes, Some("text/x-reverse"), None, &accept).unwrap(), Value::from("cba"));
    assert_eq!(serialization::unregister("reverse").unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[test]
fn what_is_not_compiled_in_names_its_feature() {
    let checks = [
        ("msgpack", cfg!(feature = "msgpack"), Msgpack(1).into_body()),
        ("yaml", cfg!(feature = "yaml"), Yaml(1).into_body()),
    ];
    for (name, present, body) in checks {
        if present {
            let accept = AcceptList::new([name]).unwrap();
            let body = body.unwrap();
            let value = decode(&body.bytes, Some(body.content_type()), Some(body.content_encoding()), &accept);
            assert_eq!(value.unwrap(), Value::Int(1));
        } else {
            let error = body.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unsupported);
            assert!(error.to_string().contains(&format!("enable the feature `{name}`")), "{error}");
        }
    }
}
