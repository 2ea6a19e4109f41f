//! Types of a program go out in Kombu's style and come back from whatever Python sent.
#![allow(clippy::unwrap_used, reason = "the helpers are part of the tests")]

use std::collections::BTreeMap;

use kombu_core::serialization::json;
use kombu_core::value::{BigInt, Date, DateTime, Decimal, Time, Uuid};
use kombu_core::{FieldTable, Value};
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, PartialEq, Debug)]
enum Shape {
    Unit,
    Newtype(i32),
    Tuple(i32, i32),
    Struct { a: i32 },
}

#[derive(Serialize, Deserialize, PartialEq, Debug)]
struct Everything {
    flag: bool,
    small: i8,
    wide: u64,
    widest: i128,
    float: f64,
    single: f32,
    letter: char,
    name: String,
    nothing: Option<u8>,
    something: Option<u8>,
    unit: (),
    pair: (u8, String),
    shapes: Vec<Shape>,
    numbers: BTreeMap<i32, bool>,
    flags: BTreeMap<bool, u8>,
    when: DateTime,
    day: Date,
    time: Time,
    price: Decimal,
    id: Uuid,
    huge: BigInt,
    table: FieldTable,
}

fn everything() -> Everything {
    Everything {
        flag: true,
        small: -8,
        wide: u64::MAX,
        widest: i128::MIN,
        float: 1e22,
        single: 0.1,
        letter: 'é',
        name: "a\"\n😀".into(),
        nothing: None,
        something: Some(1),
        unit: (),
        pair: (1, "b".into()),
        shapes: vec![Shape::Unit, Shape::Newtype(1), Shape::Tuple(1, 2), Shape::Struct { a: 3 }],
        numbers: BTreeMap::from([(-1, true), (2, false)]),
        flags: BTreeMap::from([(false, 0), (true, 1)]),
        when: "2020-01-02T03:04:05.000678".parse().unwrap(),
        day: "2020-01-02".parse().unwrap(),
        time: "03:04:05+00:00".parse().unwrap(),
        price: "1.50".parse().unwrap(),
        id: "12345678-1234-5678-1234-567812345678".parse().unwrap(),
        huge: "1".repeat(50).parse().unwrap(),
        table: FieldTable::from([("raw", Value::from(&b"\xff\xfe"[..]))]),
    }
}

const TEXT: &str = concat!(
    r#"{"flag": true, "small": -8, "wide": 18446744073709551615, "#,
    r#""widest": -170141183460469231731687303715884105728, "float": 1e+22, "single": 0.1, "letter": "\u00e9", "#,
    r#""name": "a\"\n\ud83d\ude00", "nothing": null, "something": 1, "unit": null, "pair": [1, "b"], "#,
    r#""shapes": ["Unit", {"Newtype": 1}, {"Tuple": [1, 2]}, {"Struct": {"a": 3}}], "#,
    r#""numbers": {"-1": true, "2": false}, "flags": {"false": 0, "true": 1}, "#,
    r#""when": {"__type__": "datetime", "__value__": "2020-01-02T03:04:05.000678"}, "#,
    r#""day": {"__type__": "date", "__value__": "2020-01-02"}, "#,
    r#""time": {"__type__": "time", "__value__": "03:04:05+00:00"}, "#,
    r#""price": {"__type__": "decimal", "__value__": "1.50"}, "#,
    r#""id": {"__type__": "uuid", "__value__": {"hex": "12345678123456781234567812345678"}}, "#,
    r#""huge": 11111111111111111111111111111111111111111111111111, "#,
    r#""table": {"raw": {"__type__": "base64", "__value__": "//4="}}}"#,
);

#[test]
fn every_serde_shape_is_written_as_kombu_would_and_read_back() {
    assert_eq!(json::to_string(&everything()).unwrap(), TEXT);
    assert_eq!(json::from_slice::<Everything>(TEXT.as_bytes()).unwrap(), everything());
    let value = Value::from_serialize(&everything()).unwrap();
    assert_eq!(value.deserialize_as::<Everything>().unwrap(), everything());
}

#[test]
fn the_fast_and_the_tolerant_way_give_the_same() {
    #[derive(Deserialize, PartialEq, Debug)]
    struct Plain {
        name: String,
        shapes: Vec<Shape>,
        numbers: BTreeMap<i32, bool>,
        #[serde(default)]
        ratio: f64,
        rest: (Option<u8>, f32),
    }
    let fast =
        r#"{"name": "n", "shapes": ["Unit", {"Newtype": 1}], "numbers": {"5": true}, "ratio": 0.1, "rest": [null, 2]}"#;
    let tolerant = fast.replace(
        "0.1",
        "0.1, \"ignored\": [NaN, \"\\ud800\", {\"__type__\": \"date\", \"__value__\": \"2020-01-02\"}]",
    );
    let plain: Plain = json::from_slice(fast.as_bytes()).unwrap();
    assert_eq!(plain, json::from_slice(tolerant.as_bytes()).unwrap());
}

#[test]
fn typed_values_become_text_or_numbers_where_a_type_asks_for_them() {
    #[derive(Deserialize)]
    struct Loose {
        when: String,
        price: f64,
        id: String,
        bytes: Vec<u8>,
        text: String,
        infinite: f64,
    }
    let text = br#"{"when": {"__type__": "datetime", "__value__": "2020-01-02T03:04:05"},
        "price": {"__type__": "decimal", "__value__": "1.50"},
        "id": {"__type__": "uuid", "__value__": {"int": 5}},
        "bytes": {"__type__": "base64", "__value__": "AP8="},
        "text": {"__type__": "bytes", "__value__": "abc"}, "infinite": Infinity}"#;
    let loose: Loose = json::from_slice(text).unwrap();
    assert_eq!(loose.when, "2020-01-02T03:04:05");
    assert_eq!(loose.price, 1.5);
    assert_eq!(loose.id, "00000000-0000-0000-0000-000000000005");
    assert_eq!(loose.bytes, [0, 255]);
    assert_eq!(loose.text, "abc");
    assert_eq!(loose.infinite, f64::INFINITY);
}

#[test]
fn a_wrong_shape_says_what_was_expected() {
    let error = json::from_slice::<u8>(b"[1]").unwrap_err();
    assert_eq!(error.to_string(), "json: invalid type: sequence, expected u8 at line 1 column 0");
    let error = json::from_slice::<String>(b"NaN").unwrap_err();
    assert_eq!(error.to_string(), "json: invalid type: floating point `NaN`, expected a string");
    let error = json::from_slice::<Date>(br#""2020-13-01""#).unwrap_err();
    assert_eq!(error.to_string(), "json: `2020-13-01` is not a date in ISO 8601");
    let error = json::from_slice::<String>(br#""\ud800""#).unwrap_err();
    assert_eq!(error.to_string(), "json: text with lone surrogates is only readable as a Value");
    assert!(json::to_vec(&BTreeMap::from([(vec![1], 2)])).unwrap_err().to_string().contains("key"));
}

#[test]
fn values_pass_through_plain_serde_json_too() {
    let value = Value::from_serialize(&everything()).unwrap();
    let mut table = value.as_map().unwrap().clone();
    // The formats of others have no integers beyond 128 bits and read those beyond 64 as floats.
    table.remove("huge");
    table.remove("widest");
    let text = serde_json::to_string(&table).unwrap();
    let back: FieldTable = serde_json::from_str(&text).unwrap();
    assert_eq!(back.get("when"), table.get("when"));
    assert_eq!(back.get("id"), table.get("id"));
    table.remove("table");
    let untyped: serde_json::Value = Value::Map(table).deserialize_as().unwrap();
    assert_eq!(untyped["when"], "2020-01-02T03:04:05.000678");
}
