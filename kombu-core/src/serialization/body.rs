//! What can be published, and the bytes and names it becomes.

use bytes::Bytes;
use serde::Serialize;

use super::charset::{self, Charset};
use super::registry::{self, DATA, MSGPACK, Method, YAML};
use super::{json, msgpack, yaml};
use crate::error::{Error, ErrorKind, Result};
use crate::properties::{Content, Properties};
use crate::short_str::ShortStr;
use crate::value::Value;

/// A body as it goes to the broker, with the names its receiver needs to decode it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    content: Content,
    /// Content type and encoding that are not usual.
    written_out: Option<Box<(ShortStr, ShortStr)>>,
    /// The bytes.
    pub bytes: Bytes,
}

impl Body {
    /// Joins bytes and their names; no serializer runs.
    pub fn new(
        content_type: impl Into<ShortStr>,
        content_encoding: impl Into<ShortStr>,
        bytes: impl Into<Bytes>,
    ) -> Self {
        let (content_type, content_encoding) = (content_type.into(), content_encoding.into());
        let content = Content::of(&content_type, &content_encoding);
        let written_out = content.usual().is_none().then(|| Box::new((content_type, content_encoding)));
        Body { content, written_out, bytes: bytes.into() }
    }

    /// Returns what the bytes are, such as `application/json`.
    pub fn content_type(&self) -> &str {
        self.names().0
    }

    /// Returns the character set of text, otherwise `binary`.
    pub fn content_encoding(&self) -> &str {
        self.names().1
    }

    fn names(&self) -> (&str, &str) {
        let written_out = || self.written_out.as_deref().map(|(kind, encoding)| (kind.as_str(), encoding.as_str()));
        // One of the two is there; a body made with neither would have no names.
        self.content.usual().or_else(written_out).unwrap_or_default()
    }

    /// Returns the properties that a publish of it starts with, and the bytes.
    #[inline]
    pub(crate) fn into_parts(self) -> (Properties, Bytes) {
        (Properties::of_publish(self.content, self.written_out), self.bytes)
    }

    /// Encodes `text` in a character set, as Kombu does for a text published with a content type of its own: `utf-8`,
    /// `us-ascii`, `latin-1`, `utf-16`, `utf-16-le` or `utf-16-be`.
    ///
    /// # Errors
    ///
    /// `InvalidArgument` for another character set, `Encode` for a character it does not have.
    ///
    /// # Example
    ///
    /// ```
    /// use kombu_core::serialization::Body;
    ///
    /// let body = Body::from_text("text/x-foo", "latin-1", "stré")?;
    /// assert_eq!(&body.bytes[..], b"str\xe9");
    /// # Ok::<(), kombu_core::Error>(())
    /// ```
    pub fn from_text(
        content_type: impl Into<ShortStr>,
        content_encoding: impl Into<ShortStr>,
        text: &str,
    ) -> Result<Self> {
        let content_encoding = content_encoding.into();
        let charset = Charset::named(&content_encoding);
        let charset = charset.ok_or_else(|| charset::unknown(ErrorKind::InvalidArgument, &content_encoding))?;
        Ok(Body::new(content_type, content_encoding, charset.encode(text)?))
    }

    #[inline]
    fn text(bytes: Bytes) -> Self {
        Body { content: Content::Text, written_out: None, bytes }
    }

    #[inline]
    fn data(bytes: Bytes) -> Self {
        Body { content: Content::Data, written_out: None, bytes }
    }
}

const UTF_8: ShortStr = ShortStr::from_static("utf-8");
const BINARY: ShortStr = ShortStr::from_static("binary");

/// What can be published.
///
/// As in Kombu, text goes out as `text/plain`, bytes as `application/data`, and a [`Value`] by what it holds: text and bytes
/// like these, everything else as JSON. The wrappers [`Json`], [`Msgpack`], [`Yaml`], [`Text`] and [`Raw`] choose the
/// serializer. `String`, `Vec<u8>` and `Bytes` are moved, never copied; `Bytes::from_static` publishes a constant without
/// any allocation.
///
/// # Example
///
/// ```
/// use kombu_core::{IntoBody, Json};
///
/// let body = Json(&[("é", 1.0)]).into_body()?;
/// assert_eq!(body.content_type(), "application/json");
/// assert_eq!(&body.bytes[..], br#"[["\u00e9", 1.0]]"#);
/// # Ok::<(), kombu_core::Error>(())
/// ```
pub trait IntoBody {
    /// Makes the body.
    ///
    /// # Errors
    ///
    /// `Encode` for what the serializer cannot write; `Unsupported`, naming the feature, when it is not compiled in.
    fn into_body(self) -> Result<Body>;
}

/// Publishes any serde type as JSON, the way Kombu writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// Publishes any serde type as MessagePack; needs the feature `msgpack`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Msgpack<T>(pub T);

/// Publishes any serde type as YAML; needs the feature `yaml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Yaml<T>(pub T);

/// Publishes text as `text/plain` in UTF-8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text<T>(pub T);

/// Publishes bytes as they are, as `application/data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Raw<T>(pub T);

impl IntoBody for Body {
    fn into_body(self) -> Result<Body> {
        Ok(self)
    }
}

impl IntoBody for Bytes {
    #[inline]
    fn into_body(self) -> Result<Body> {
        Ok(Body::data(self))
    }
}

impl IntoBody for Vec<u8> {
    fn into_body(self) -> Result<Body> {
        Ok(Body::data(self.into()))
    }
}

impl IntoBody for &[u8] {
    fn into_body(self) -> Result<Body> {
        Ok(Body::data(Bytes::copy_from_slice(self)))
    }
}

impl<const N: usize> IntoBody for &[u8; N] {
    fn into_body(self) -> Result<Body> {
        self.as_slice().into_body()
    }
}

impl IntoBody for String {
    fn into_body(self) -> Result<Body> {
        Ok(Body::text(self.into()))
    }
}

impl IntoBody for &str {
    fn into_body(self) -> Result<Body> {
        Ok(Body::text(Bytes::copy_from_slice(self.as_bytes())))
    }
}

impl IntoBody for &String {
    fn into_body(self) -> Result<Body> {
        self.as_str().into_body()
    }
}

impl IntoBody for &Value {
    fn into_body(self) -> Result<Body> {
        encode(self, None)
    }
}

impl IntoBody for Value {
    fn into_body(self) -> Result<Body> {
        match self {
            Value::Text(text) => text.into_body(),
            Value::Bytes(bytes) => bytes.into_body(),
            other => encode(&other, None),
        }
    }
}

impl<T: Serialize> IntoBody for Json<T> {
    fn into_body(self) -> Result<Body> {
        Ok(Body { content: Content::Json, written_out: None, bytes: json::to_vec(&self.0)?.into() })
    }
}

impl<T: Serialize> IntoBody for Msgpack<T> {
    fn into_body(self) -> Result<Body> {
        Ok(Body::new(MSGPACK, BINARY, msgpack::to_vec(&self.0)?))
    }
}

impl<T: Serialize> IntoBody for Yaml<T> {
    fn into_body(self) -> Result<Body> {
        Ok(Body::new(YAML, UTF_8, yaml::to_vec(&self.0)?))
    }
}

impl<T: Into<String>> IntoBody for Text<T> {
    fn into_body(self) -> Result<Body> {
        self.0.into().into_body()
    }
}

impl<T: Into<Bytes>> IntoBody for Raw<T> {
    fn into_body(self) -> Result<Body> {
        self.0.into().into_body()
    }
}

/// Returns the body of a value by the serializer of that name; without one, by Kombu's rule: text as `text/plain`, bytes as
/// `application/data`, everything else as JSON.
///
/// # Errors
///
/// `InvalidArgument`, listing what exists, for an unknown serializer and for `pickle`; `Encode` for a value it cannot write;
/// `Unsupported`, naming the feature, when it is not compiled in.
///
/// # Example
///
/// ```
/// use kombu_core::Value;
/// use kombu_core::serialization::encode;
///
/// assert_eq!(encode(&Value::from("x"), None)?.content_type(), "text/plain");
/// assert_eq!(&encode(&Value::from("x"), Some("json"))?.bytes[..], b"\"x\"");
/// # Ok::<(), kombu_core::Error>(())
/// ```
pub fn encode(value: &Value, serializer: Option<&str>) -> Result<Body> {
    let Some(name) = serializer else {
        return match value {
            Value::Text(_) | Value::LoneText(_) => encode_text(value),
            Value::Bytes(bytes) => bytes.clone().into_body(),
            other => Json(other).into_body(),
        };
    };
    let serializer = registry::named(name)?;
    let bytes = match &serializer.method {
        Method::Json => json::to_vec(value)?,
        Method::Msgpack => msgpack::to_vec(value)?,
        Method::Yaml => yaml::to_vec(value)?,
        Method::Custom(codec) => codec.encode(value)?,
        Method::Text => return encode_text(value),
        Method::Raw => {
            return match value {
                Value::Bytes(bytes) => bytes.clone().into_body(),
                other => Ok(Body::new(DATA, UTF_8, encode_text(other)?.bytes)),
            };
        }
        Method::Pickle => {
            return Err(Error::new(ErrorKind::InvalidArgument, "pickle is never written; use json or msgpack"));
        }
    };
    Ok(Body::new(serializer.content_type, serializer.content_encoding, bytes))
}

fn encode_text(value: &Value) -> Result<Body> {
    match value {
        Value::Text(text) => text.into_body(),
        Value::LoneText(_) => Err(Error::new(ErrorKind::Encode, "text with lone surrogates has no UTF-8 form")),
        other => Err(Error::new(ErrorKind::Encode, format!("{} is neither text nor bytes", other.kind()))),
    }
}
