//! The writer: any serde type in the style of Kombu's `json.dumps`.

use serde::ser::{self, Serialize, Serializer};

use super::key::KeyWriter;
use super::text::{float_repr, short_float_repr, write_number, write_text, write_unit};
use crate::error::{Error, Result};
use crate::value::{BIG_INT, LONE_TEXT, typed};

/// Writes at the end of a buffer.
pub(super) struct Writer<'a> {
    pub(super) out: &'a mut Vec<u8>,
    next: Next,
}

/// How the next text or number is written.
#[derive(Clone, Copy, PartialEq)]
enum Next {
    /// As what it is.
    Plain,
    /// A text that is JSON already.
    Verbatim,
    /// A UTF-16 unit inside quotes.
    Unit,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Writer { out, next: Next::Plain }
    }

    fn put(&mut self, json: &[u8]) -> Result<()> {
        self.out.extend_from_slice(json);
        Ok(())
    }

    fn put_number(&mut self, number: impl std::fmt::Display) -> Result<()> {
        write_number(self.out, number);
        Ok(())
    }

    fn open(&mut self, begin: &[u8], end: &'static [u8]) -> Parts<'_, 'a> {
        self.out.extend_from_slice(begin);
        Parts { writer: self, is_first: true, each: Next::Plain, end }
    }

    /// Begins `{"variant": `, which the end of the parts closes.
    fn open_variant(&mut self, variant: &str, begin: &[u8], end: &'static [u8]) -> Parts<'_, 'a> {
        self.out.push(b'{');
        write_text(self.out, variant);
        self.out.extend_from_slice(b": ");
        self.open(begin, end)
    }
}

impl<'w, 'a> Serializer for &'w mut Writer<'a> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Parts<'w, 'a>;
    type SerializeTuple = Parts<'w, 'a>;
    type SerializeTupleStruct = Parts<'w, 'a>;
    type SerializeTupleVariant = Parts<'w, 'a>;
    type SerializeMap = Parts<'w, 'a>;
    type SerializeStruct = Parts<'w, 'a>;
    type SerializeStructVariant = Parts<'w, 'a>;

    fn serialize_bool(self, value: bool) -> Result<()> {
        self.put(if value { b"true" } else { b"false" })
    }

    fn serialize_i8(self, value: i8) -> Result<()> {
        self.put_number(value)
    }

    fn serialize_i16(self, value: i16) -> Result<()> {
        self.put_number(value)
    }

    fn serialize_i32(self, value: i32) -> Result<()> {
        self.put_number(value)
    }

    fn serialize_i64(self, value: i64) -> Result<()> {
        self.put_number(value)
    }

    fn serialize_i128(self, value: i128) -> Result<()> {
        self.put_number(value)
    }

    fn serialize_u8(self, value: u8) -> Result<()> {
        self.put_number(value)
    }

    fn serialize_u16(self, value: u16) -> Result<()> {
        if self.next == Next::Unit {
            write_unit(self.out, value);
            return Ok(());
        }
        self.put_number(value)
    }

    fn serialize_u32(self, value: u32) -> Result<()> {
        self.put_number(value)
    }

    fn serialize_u64(self, value: u64) -> Result<()> {
        self.put_number(value)
    }

    fn serialize_u128(self, value: u128) -> Result<()> {
        self.put_number(value)
    }

    fn serialize_f32(self, value: f32) -> Result<()> {
        self.put(short_float_repr(value).as_bytes())
    }

    fn serialize_f64(self, value: f64) -> Result<()> {
        self.put(float_repr(value).as_bytes())
    }

    fn serialize_char(self, value: char) -> Result<()> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<()> {
        match self.next {
            Next::Verbatim => self.put(value.as_bytes()),
            _ => {
                write_text(self.out, value);
                Ok(())
            }
        }
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<()> {
        let (marker, text) = typed::encode_bytes(value);
        let mut map = self.serialize_map(Some(2))?;
        ser::SerializeMap::serialize_entry(&mut map, typed::TYPE_KEY, marker)?;
        ser::SerializeMap::serialize_entry(&mut map, typed::VALUE_KEY, &*text)?;
        ser::SerializeMap::end(map)
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<()> {
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.put(b"null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> Result<()> {
        if name == BIG_INT {
            return value.serialize(&mut Writer { out: self.out, next: Next::Verbatim });
        }
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<()> {
        let mut parts = self.open(b"{", b"}");
        ser::SerializeMap::serialize_entry(&mut parts, variant, value)?;
        ser::SerializeMap::end(parts)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Parts<'w, 'a>> {
        Ok(self.open(b"[", b"]"))
    }

    fn serialize_tuple(self, _: usize) -> Result<Parts<'w, 'a>> {
        Ok(self.open(b"[", b"]"))
    }

    fn serialize_tuple_struct(self, name: &'static str, _: usize) -> Result<Parts<'w, 'a>> {
        if name == LONE_TEXT {
            return Ok(Parts { each: Next::Unit, ..self.open(b"\"", b"\"") });
        }
        Ok(self.open(b"[", b"]"))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'w, 'a>> {
        Ok(self.open_variant(variant, b"[", b"]}"))
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Parts<'w, 'a>> {
        Ok(self.open(b"{", b"}"))
    }

    fn serialize_struct(self, name: &'static str, _: usize) -> Result<Parts<'w, 'a>> {
        if name == RAW_VALUE {
            return Ok(Parts { each: Next::Verbatim, ..self.open(b"", b"") });
        }
        Ok(self.open(b"{", b"}"))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Parts<'w, 'a>> {
        Ok(self.open_variant(variant, b"{", b"}}"))
    }
}

/// The name under which `serde_json::value::RawValue` offers its text; a test notices if it ever changes.
const RAW_VALUE: &str = "$serde_json::private::RawValue";

/// A list, map or text on its way out.
pub(super) struct Parts<'w, 'a> {
    writer: &'w mut Writer<'a>,
    is_first: bool,
    each: Next,
    end: &'static [u8],
}

impl Parts<'_, '_> {
    fn item<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        if self.each == Next::Plain {
            self.separate();
        }
        self.value(value)
    }

    fn field<T: Serialize + ?Sized>(&mut self, key: &'static str, value: &T) -> Result<()> {
        if self.each == Next::Plain {
            self.separate();
            write_text(self.writer.out, key);
            self.writer.out.extend_from_slice(b": ");
        }
        self.value(value)
    }

    fn separate(&mut self) {
        if !std::mem::take(&mut self.is_first) {
            self.writer.out.extend_from_slice(b", ");
        }
    }

    fn value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        value.serialize(&mut Writer { out: self.writer.out, next: self.each })
    }

    fn finish(self) -> Result<()> {
        self.writer.put(self.end)
    }
}

macro_rules! serialize_parts {
    ($($parts:ident: $method:ident($($key:ident)?) as $how:ident),+) => {$(
        impl ser::$parts for Parts<'_, '_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, $($key: &'static str,)? value: &T) -> Result<()> {
                self.$how($($key,)? value)
            }

            fn end(self) -> Result<()> {
                self.finish()
            }
        }
    )+};
}

serialize_parts! {
    SerializeSeq: serialize_element() as item,
    SerializeTuple: serialize_element() as item,
    SerializeTupleStruct: serialize_field() as item,
    SerializeTupleVariant: serialize_field() as item,
    SerializeStruct: serialize_field(key) as field,
    SerializeStructVariant: serialize_field(key) as field
}

impl ser::SerializeMap for Parts<'_, '_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<()> {
        self.separate();
        key.serialize(KeyWriter(self.writer.out))?;
        self.writer.put(b": ")
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<()> {
        self.value(value)
    }

    fn end(self) -> Result<()> {
        self.finish()
    }
}
