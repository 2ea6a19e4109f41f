//! No input panics, overflows the stack or takes more memory than it should.

#[path = "support/random.rs"]
mod random;

use bytes::Bytes;
use kombu_core::serialization::json::{self, ReadOptions};
use kombu_core::serialization::{AcceptList, decode, encode};
use kombu_core::{ErrorKind, Value};
use random::Random;

#[test]
fn a_million_open_brackets_are_an_error() {
    for open in ["[", "{\"a\":", "[{\"\":"] {
        let text = open.repeat(1_000_000);
        for error in [
            json::read(text.as_bytes()).unwrap_err(),
            json::from_slice::<Value>(text.as_bytes()).unwrap_err(),
            json::from_slice::<serde_json::Value>(text.as_bytes()).unwrap_err(),
            json::read_with(text.as_bytes(), &ReadOptions { max_depth: usize::MAX }).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::Decode);
            assert!(error.to_string().contains("nested deeper than the limit of"), "{error}");
        }
    }
}

/// Test threads have 2 MiB of stack, like most threads of a program.
#[test]
fn the_deepest_value_allowed_fits_the_stack_of_a_thread() {
    let depth = ReadOptions::MAX_DEPTH / 2;
    let text = format!("{}7{}", "[{\"a\": ".repeat(depth), "}]".repeat(depth));
    let options = ReadOptions { max_depth: ReadOptions::MAX_DEPTH };
    let value = json::read_with(text.as_bytes(), &options).unwrap();
    assert_eq!(json::to_string(&value).unwrap(), text);
    assert_eq!(value.clone(), value);
    assert!(format!("{value:?}").len() > depth);
    assert!(value.deserialize_as::<Value>().unwrap_err().to_string().contains("256 levels"));
    assert!(json::read(text.as_bytes()).is_err());

    let text = format!("{}{}", "[".repeat(256), "]".repeat(256));
    let value = json::read(text.as_bytes()).unwrap();
    assert_eq!(json::from_slice::<Value>(text.as_bytes()).unwrap(), value);
    assert_eq!(json::to_string(&json::from_slice::<serde_json::Value>(text.as_bytes()).unwrap()).unwrap(), text);
}

#[test]
fn random_values_survive_json() {
    let mut random = Random::new(1);
    for round in 0..5_000 {
        let value = random.value(4);
        let text = json::to_vec(&value).unwrap();
        assert!(text.iter().all(|byte| (b' '..=b'~').contains(byte)), "{round}");
        assert_eq!(json::read(&text).unwrap(), value, "{round}");
        assert_eq!(json::from_slice::<Value>(&text).unwrap(), value, "{round}");
        assert_eq!(value.clone().deserialize_as::<Value>().unwrap(), value, "{round}");
        assert_eq!(Value::from_serialize(&value).unwrap(), value, "{round}");
    }
}

#[cfg(all(feature = "msgpack", feature = "yaml"))]
#[test]
fn random_values_survive_msgpack_and_yaml() {
    let accept = AcceptList::new(["msgpack", "yaml"]).unwrap();
    for name in ["msgpack", "yaml"] {
        let mut random = Random::new(2);
        for round in 0..2_000 {
            let value = random.common_value(4);
            let body = encode(&value, Some(name)).unwrap();
            let decoded = decode(&body.bytes, Some(body.content_type()), Some(body.content_encoding()), &accept);
            assert_eq!(decoded.unwrap(), value, "{round} {:?}", body.bytes);
        }
    }
}

/// Whatever serde_json reads the tolerant reader reads too, and to the same meaning.
#[test]
fn mangled_texts_never_panic_and_agree_with_serde_json() {
    let mut random = Random::new(3);
    for round in 0..15_000 {
        let mut text = json::to_vec(&random.value(3)).unwrap();
        for _ in 0..random.below(4) {
            let at = random.below(text.len() as u64 + 1) as usize;
            let byte = b"[]{},:\"\\u0e-+. nNIdt\xc3\xa9\xff"[random.below(23) as usize];
            match random.below(3) {
                0 => text.insert(at, byte),
                1 if at < text.len() => text[at] = byte,
                _ => text.truncate(at),
            }
        }
        let value = json::read(&text);
        if let Ok(theirs) = serde_json::from_slice::<serde_json::Value>(&text) {
            match &value {
                Ok(value) if !text.windows(8).any(|window| window == b"__type__") => {
                    let ours: serde_json::Value = serde_json::from_slice(&json::to_vec(value).unwrap()).unwrap();
                    let same = ours == theirs || text.windows(2).any(|window| window == b"-0");
                    assert!(same, "{round}: {}", String::from_utf8_lossy(&text));
                }
                Ok(_) => {}
                Err(error) => {
                    let is_typed = text.windows(8).any(|window| window == b"__type__");
                    assert!(is_typed, "{round}: {error}: {}", String::from_utf8_lossy(&text));
                }
            }
        }
        assert_eq!(json::from_slice::<Value>(&text).is_ok(), value.is_ok(), "{}", String::from_utf8_lossy(&text));
    }
}

#[test]
fn random_bytes_never_panic() {
    let mut random = Random::new(4);
    let accept = AcceptList::new(["json", "msgpack", "yaml", "text/plain"]).unwrap();
    for _ in 0..5_000 {
        let body = Bytes::from(random.bytes(40));
        for content_type in ["application/json", "application/x-msgpack", "application/x-yaml", "text/plain"] {
            let _ = decode(&body, Some(content_type), Some("utf-16"), &accept);
        }
        let text = String::from_utf8_lossy(&body);
        let _ = text.parse::<kombu_core::value::DateTime>();
        let _ = text.parse::<kombu_core::value::Time>();
        let _ = text.parse::<kombu_core::value::Decimal>();
        let _ = text.parse::<kombu_core::value::Uuid>();
    }
}

#[cfg(feature = "msgpack")]
#[test]
fn msgpack_refuses_what_kombu_refuses() {
    let accept = AcceptList::new(["msgpack"]).unwrap();
    let cases: [&[u8]; 7] = [
        b"\xc1",
        b"\x01\x02",
        b"\x92\x01",
        b"\xd6\xff\x00\x00\x00\x00",
        b"\xdd\xff\xff\xff\xff",
        b"\xc6\xff\xff\xff\xff",
        &[0x91; 100_000],
    ];
    for body in cases {
        let decoded = decode(&Bytes::from_static(Box::leak(body.into())), Some("application/x-msgpack"), None, &accept);
        assert_eq!(decoded.unwrap_err().kind(), ErrorKind::Decode, "{:?}", &body[..body.len().min(8)]);
    }
    for value in
        ["[1e400, {\"__type__\": \"date\", \"__value__\": \"2020-01-02\"}]", "18446744073709551616", "\"\\ud800\""]
    {
        let value = json::read(value.as_bytes()).unwrap();
        assert_eq!(encode(&value, Some("msgpack")).unwrap_err().kind(), ErrorKind::Encode);
    }
}

#[cfg(feature = "yaml")]
#[test]
fn yaml_refuses_nesting_and_alias_bombs() {
    let accept = AcceptList::new(["yaml"]).unwrap();
    let mut aliases = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..10 {
        let alias = format!("*a{}", level - 1);
        aliases += &format!("a{level}: &a{level} [{}]\n", [alias.as_str(); 10].join(", "));
    }
    for body in ["[".repeat(100_000), "- ".repeat(100_000), "? ".repeat(100_000), aliases] {
        let decoded = decode(&body.into(), Some("application/x-yaml"), None, &accept);
        assert_eq!(decoded.unwrap_err().kind(), ErrorKind::Decode);
    }
}

#[test]
fn a_body_of_64_mebibytes_goes_both_ways() {
    let value = Value::from("é\n".repeat(1 << 16) + &"x".repeat(64 << 20));
    let body = encode(&value, Some("json")).unwrap();
    assert!(body.bytes.len() > 64 << 20);
    let decoded = decode(&body.bytes, Some("application/json"), None, &AcceptList::default()).unwrap();
    assert!(decoded == value);
}
