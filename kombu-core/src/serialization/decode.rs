//! What a received body means.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use super::charset::{self, Charset};
use super::registry::{self, Method};
use super::{AcceptList, json, msgpack, yaml};
use crate::error::{Error, ErrorKind, Result};
use crate::value::Value;

/// Returns what a received body means, by Kombu's rules.
///
/// A missing content type means `application/data`. A type nobody registered is text in the content encoding (`utf-8` when
/// missing), or bytes when that is `binary`. An empty body stays empty bytes, whatever its type. The body must be decompressed.
///
/// # Errors
///
/// `ContentDisallowed` when `accept` does not admit the type, and always for pickle; `Decode` when the body is not what its
/// type says; `Unsupported`, naming the feature, when the serializer is not compiled in.
///
/// # Example
///
/// ```
/// use kombu_core::Value;
/// use kombu_core::serialization::{AcceptList, decode};
///
/// let accept = AcceptList::default();
/// let value = decode(&b"[1, null]"[..].into(), Some("application/json"), Some("utf-8"), &accept)?;
/// assert_eq!(value, Value::from([Some(1), None]));
/// # Ok::<(), kombu_core::Error>(())
/// ```
pub fn decode(
    body: &Bytes,
    content_type: Option<&str>,
    content_encoding: Option<&str>,
    accept: &AcceptList,
) -> Result<Value> {
    match admitted(body, content_type, accept)? {
        Some(Method::Json) => json::read(body),
        Some(Method::Msgpack) => msgpack::read(body),
        Some(Method::Yaml) => yaml::read(body),
        Some(Method::Custom(codec)) => codec.decode(body),
        Some(Method::Raw | Method::Text | Method::Pickle) | None => by_encoding(body, content_encoding),
    }
}

/// Returns what a received body means as a type of the program, without the detour of a [`Value`] where that is possible.
///
/// # Errors
///
/// As [`decode`], and `Decode` when the body does not have the shape of `T`.
///
/// # Example
///
/// ```
/// use kombu_core::serialization::{AcceptList, decode_as};
///
/// #[derive(serde::Deserialize)]
/// struct Order {
///     id: u32,
/// }
/// let body = b"{\"id\": 7}"[..].into();
/// let order: Order = decode_as(&body, Some("application/json"), Some("utf-8"), &AcceptList::default())?;
/// assert_eq!(order.id, 7);
/// # Ok::<(), kombu_core::Error>(())
/// ```
pub fn decode_as<T: DeserializeOwned>(
    body: &Bytes,
    content_type: Option<&str>,
    content_encoding: Option<&str>,
    accept: &AcceptList,
) -> Result<T> {
    match admitted(body, content_type, accept)? {
        Some(Method::Json) => json::from_slice(body),
        Some(Method::Msgpack) => msgpack::from_slice(body),
        Some(Method::Yaml) => yaml::from_slice(body),
        Some(Method::Custom(codec)) => codec.decode(body)?.deserialize_as(),
        Some(Method::Raw | Method::Text | Method::Pickle) | None => {
            by_encoding(body, content_encoding)?.deserialize_as()
        }
    }
}

/// Returns how an acceptable body is decoded; `None` when by its encoding alone, or because it is empty.
fn admitted(body: &Bytes, content_type: Option<&str>, accept: &AcceptList) -> Result<Option<Method>> {
    let content_type = content_type.filter(|content_type| !content_type.is_empty()).unwrap_or("application/data");
    accept.check(content_type)?;
    let method = registry::method_of(content_type);
    if matches!(method, Some(Method::Pickle)) || registry::PICKLE == content_type {
        let refusal = "refusing to decode pickle: it runs code of whoever sent it; let the sender use json or msgpack";
        return Err(Error::new(ErrorKind::ContentDisallowed, refusal));
    }
    Ok(method.filter(|_| !body.is_empty()))
}

fn by_encoding(body: &Bytes, content_encoding: Option<&str>) -> Result<Value> {
    let name = content_encoding.filter(|name| !name.is_empty()).unwrap_or("utf-8");
    if body.is_empty() || name.eq_ignore_ascii_case("binary") || name.eq_ignore_ascii_case("ascii-8bit") {
        return Ok(Value::Bytes(body.clone()));
    }
    let charset = Charset::named(name).ok_or_else(|| charset::unknown(ErrorKind::Decode, name))?;
    charset.decode(body).map(Value::Text)
}
