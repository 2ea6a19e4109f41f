//! Bodies: from values to bytes and back, by Kombu's serializers.
//!
//! | name | content type | content encoding | feature |
//! |---|---|---|---|
//! | `json` | `application/json` | `utf-8` | |
//! | `msgpack` | `application/x-msgpack` | `binary` | `msgpack` |
//! | `yaml` | `application/x-yaml` | `utf-8` | `yaml` |
//! | `raw` | `application/data` | `binary`, for text `utf-8` | |
//! | `text` | `text/plain` | `utf-8` | |
//! | `pickle` | `application/x-python-serialize` | `binary` | never read or written |
//!
//! What is published says how by its type ([`IntoBody`]): text and bytes go out as they are, [`Json`], [`Msgpack`] and
//! [`Yaml`] wrap any serde type. What is received is checked against an [`AcceptList`] and decoded by its content type:
//! [`decode`] into a [`Value`](crate::Value), [`decode_as`] into a type of the program. [`register`] adds serializers.

mod accept;
mod body;
mod charset;
mod decode;
pub mod json;
#[cfg(feature = "msgpack")]
mod msgpack;
#[cfg(not(feature = "msgpack"))]
#[path = "serialization/missing_msgpack.rs"]
mod msgpack;
mod registry;
#[cfg(feature = "yaml")]
mod yaml;
#[cfg(not(feature = "yaml"))]
#[path = "serialization/missing_yaml.rs"]
mod yaml;

pub use self::accept::AcceptList;
pub use self::body::{Body, IntoBody, Json, Msgpack, Raw, Text, Yaml, encode};
pub use self::decode::{decode, decode_as};
pub use self::registry::{Codec, disable, enable, names, register, unregister};
