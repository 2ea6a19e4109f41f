//! Random values, the same ones in every run.
#![allow(dead_code, clippy::unwrap_used, reason = "shared by several tests")]

use kombu_core::value::{BigInt, Date, DateTime, Decimal, Time, Uuid};
use kombu_core::{FieldTable, Value};

/// A small generator (xorshift64*); no statistics depend on it.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        (self.number() >> 11) % end
    }

    pub(crate) fn bytes(&mut self, longest: u64) -> Vec<u8> {
        (0..self.below(longest + 1)).map(|_| self.number() as u8).collect()
    }

    pub(crate) fn text(&mut self) -> String {
        let alphabet: Vec<char> =
            "abc XYZ0189_-:#'\"\\/{}[],\n\t\r\u{0}\u{7f}\u{8}é€\u{2028}\u{fffd}😀".chars().collect();
        (0..self.below(12)).map(|_| alphabet[self.below(alphabet.len() as u64) as usize]).collect()
    }

    pub(crate) fn float(&mut self) -> f64 {
        match self.below(4) {
            0 => self.below(1000) as f64 / 8.0,
            1 => -(self.below(1_000_000) as f64),
            2 => f64::INFINITY,
            _ => Some(f64::from_bits(self.number())).filter(|float| !float.is_nan()).unwrap_or(0.0),
        }
    }

    /// A value that MessagePack and YAML can hold too.
    pub(crate) fn common_value(&mut self, depth: u64) -> Value {
        match self.below(if depth == 0 { 6 } else { 8 }) {
            0 => Value::Null,
            1 => Value::Bool(self.below(2) == 0),
            2 => Value::Int(self.number() as i64 >> self.below(64)),
            3 => Value::Float(self.float()),
            4 => Value::Text(self.text()),
            5 => Value::Bytes(self.bytes(9).into()),
            6 => (0..self.below(5)).map(|_| self.common_value(depth - 1)).collect(),
            _ => self.table(depth, Random::common_value),
        }
    }

    pub(crate) fn value(&mut self, depth: u64) -> Value {
        match self.below(if depth == 0 { 8 } else { 10 }) {
            0 => Value::DateTime(DateTime::new(self.date(), self.time())),
            1 => Value::Date(self.date()),
            2 => Value::Time(self.time()),
            3 => Value::Decimal(format!("-{}.{:06}", self.number(), self.below(1_000_000)).parse::<Decimal>().unwrap()),
            4 => Value::Uuid(Uuid::from_u128(u128::from(self.number()) << 64 | u128::from(self.number()))),
            5 => format!("-{}{}{}", self.number(), self.number(), self.number()).parse::<BigInt>().unwrap().into(),
            6 => Value::from_utf16((0..4).map(|_| 0xd7fe + self.below(0x0804) as u16).collect()),
            7 => self.common_value(depth),
            8 => (0..self.below(5)).map(|_| self.value(depth - 1)).collect(),
            _ => self.table(depth, Random::value),
        }
    }

    fn table(&mut self, depth: u64, value: fn(&mut Random, u64) -> Value) -> Value {
        Value::Map((0..self.below(5)).map(|_| (self.text(), value(self, depth - 1))).collect::<FieldTable>())
    }

    fn date(&mut self) -> Date {
        Date::new(1 + self.below(9999) as u16, 1 + self.below(12) as u8, 1 + self.below(28) as u8).unwrap()
    }

    fn time(&mut self) -> Time {
        let micros = if self.below(2) == 0 { 0 } else { self.below(1_000_000) as u32 };
        let time = Time::new(self.below(24) as u8, self.below(60) as u8, self.below(60) as u8, micros).unwrap();
        let offset = (self.below(2) == 0).then(|| self.below(172_799) as i64 * 1_000_000 - 86_399_000_000);
        time.with_utc_offset_micros(offset).unwrap()
    }
}
