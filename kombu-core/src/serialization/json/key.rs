//! Keys of maps, which Python writes as text whatever they are.

use serde::ser::{Error as _, Impossible, Serialize, Serializer};

use super::text::{float_repr, short_float_repr, write_key};
use crate::error::{Error, Result};

pub(super) struct KeyWriter<'a>(pub(super) &'a mut Vec<u8>);

fn no_key<T>(what: &str) -> Result<T> {
    Err(Error::custom(format!("{what} cannot be the key of a map")))
}

macro_rules! write_as_text {
    ($($method:ident($source:ty)),+) => {$(
        fn $method(self, key: $source) -> Result<()> {
            write_key(self.0, &key.to_string());
            Ok(())
        }
    )+};
}

impl Serializer for KeyWriter<'_> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Impossible<(), Error>;
    type SerializeTuple = Impossible<(), Error>;
    type SerializeTupleStruct = Impossible<(), Error>;
    type SerializeTupleVariant = Impossible<(), Error>;
    type SerializeMap = Impossible<(), Error>;
    type SerializeStruct = Impossible<(), Error>;
    type SerializeStructVariant = Impossible<(), Error>;

    write_as_text! {
        serialize_bool(bool), serialize_char(char),
        serialize_i8(i8), serialize_i16(i16), serialize_i32(i32), serialize_i64(i64), serialize_i128(i128),
        serialize_u8(u8), serialize_u16(u16), serialize_u32(u32), serialize_u64(u64), serialize_u128(u128)
    }

    fn serialize_f32(self, key: f32) -> Result<()> {
        self.serialize_str(&short_float_repr(key))
    }

    fn serialize_f64(self, key: f64) -> Result<()> {
        self.serialize_str(&float_repr(key))
    }

    fn serialize_str(self, key: &str) -> Result<()> {
        write_key(self.0, key);
        Ok(())
    }

    fn serialize_none(self) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, key: &T) -> Result<()> {
        key.serialize(self)
    }

    fn serialize_unit(self) -> Result<()> {
        self.serialize_str("null")
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<()> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<()> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, key: &T) -> Result<()> {
        key.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<()> {
        no_key("an enum with content")
    }

    fn serialize_bytes(self, _: &[u8]) -> Result<()> {
        no_key("bytes")
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq> {
        no_key("a list")
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple> {
        no_key("a tuple")
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct> {
        no_key("a tuple")
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant> {
        no_key("an enum with content")
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap> {
        no_key("a map")
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct> {
        no_key("a struct")
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant> {
        no_key("an enum with content")
    }
}
