//! Which serializers exist, by name and by content type.

use std::sync::{Arc, LazyLock};

use arc_swap::ArcSwap;

use crate::error::{Error, ErrorKind, Result};
use crate::short_str::ShortStr;
use crate::value::Value;

/// A serializer of a program's own, made known by [`register`].
///
/// Its methods are called on whatever thread publishes or receives, also several at once.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
/// use kombu_core::serialization::{self, AcceptList, Codec, encode};
/// use kombu_core::{Error, ErrorKind, Result, Value};
///
/// /// Lines of text.
/// struct Lines;
///
/// impl Codec for Lines {
///     fn encode(&self, value: &Value) -> Result<Vec<u8>> {
///         let lines: Vec<String> = value.clone().deserialize_as()?;
///         Ok(lines.join("\n").into_bytes())
///     }
///
///     fn decode(&self, body: &[u8]) -> Result<Value> {
///         let text = std::str::from_utf8(body).map_err(|error| Error::new(ErrorKind::Decode, error.to_string()))?;
///         Ok(text.lines().collect())
///     }
/// }
///
/// serialization::register("lines", "text/x-lines", "utf-8", Arc::new(Lines));
/// let body = encode(&Value::from(["a", "b"]), Some("lines"))?;
/// assert_eq!((body.content_type(), &body.bytes[..]), ("text/x-lines", &b"a\nb"[..]));
/// # serialization::unregister("lines")?;
/// # Ok::<(), Error>(())
/// ```
pub trait Codec: Send + Sync {
    /// Returns the bytes of `value`.
    ///
    /// # Errors
    ///
    /// Kind `Encode` for a value the format cannot hold.
    fn encode(&self, value: &Value) -> Result<Vec<u8>>;

    /// Returns the value of `body`, which is never empty.
    ///
    /// # Errors
    ///
    /// Kind `Decode` for bytes the format does not know.
    fn decode(&self, body: &[u8]) -> Result<Value>;
}

/// Adds a serializer, or replaces the one of that name.
///
/// A body of `content_type` is decoded by it from now on, in the whole process.
pub fn register(
    name: impl Into<ShortStr>,
    content_type: impl Into<ShortStr>,
    content_encoding: impl Into<ShortStr>,
    codec: Arc<dyn Codec>,
) {
    let serializer = Serializer {
        name: name.into(),
        content_type: content_type.into(),
        content_encoding: content_encoding.into(),
        method: Method::Custom(codec),
    };
    TABLE.rcu(|table| {
        let mut table = Table::clone(table);
        table.serializers.retain(|other| other.name != serializer.name);
        // In front, so that it also wins over another serializer of the same content type.
        table.serializers.insert(0, serializer.clone());
        table
    });
}

/// Takes a serializer away, also one of the library's own; bodies of its content type then arrive as text or bytes.
///
/// # Errors
///
/// `InvalidArgument`, listing what exists, when there is none of that name.
pub fn unregister(name: &str) -> Result<()> {
    TABLE.load().named(name)?;
    TABLE.rcu(|table| {
        let mut table = Table::clone(table);
        table.serializers.retain(|serializer| serializer.name != name);
        table
    });
    Ok(())
}

/// Lets a default [`AcceptList`](super::AcceptList) accept a serializer or content type that it refuses otherwise: `yaml`
/// and `msgpack` at first. `pickle` stays refused.
///
/// # Errors
///
/// `InvalidArgument`, listing what exists, for an unknown name.
pub fn enable(name: &str) -> Result<()> {
    let content_type = content_type_of(name)?;
    TABLE.rcu(|table| {
        let mut table = Table::clone(table);
        table.refused.retain(|refused| *refused != content_type);
        table
    });
    Ok(())
}

/// Lets a default [`AcceptList`](super::AcceptList) refuse a serializer or content type.
///
/// # Errors
///
/// `InvalidArgument`, listing what exists, for an unknown name.
pub fn disable(name: &str) -> Result<()> {
    enable(name)?;
    let content_type = content_type_of(name)?;
    TABLE.rcu(|table| {
        let mut table = Table::clone(table);
        table.refused.push(content_type.clone());
        table
    });
    Ok(())
}

/// Returns the names of all serializers, sorted.
pub fn names() -> Vec<ShortStr> {
    TABLE.load().names()
}

/// How a serializer works.
#[derive(Clone)]
pub(super) enum Method {
    Json,
    Msgpack,
    Yaml,
    Raw,
    Text,
    Pickle,
    Custom(Arc<dyn Codec>),
}

#[derive(Clone)]
pub(super) struct Serializer {
    pub(super) name: ShortStr,
    pub(super) content_type: ShortStr,
    pub(super) content_encoding: ShortStr,
    pub(super) method: Method,
}

#[derive(Clone)]
struct Table {
    serializers: Vec<Serializer>,
    refused: Vec<ShortStr>,
}

static TABLE: LazyLock<ArcSwap<Table>> = LazyLock::new(|| {
    let serializer = |name, content_type, content_encoding, method| Serializer {
        name: ShortStr::from_static(name),
        content_type,
        content_encoding: ShortStr::from_static(content_encoding),
        method,
    };
    ArcSwap::from_pointee(Table {
        serializers: vec![
            serializer("json", JSON, "utf-8", Method::Json),
            serializer("text", TEXT, "utf-8", Method::Text),
            serializer("raw", DATA, "binary", Method::Raw),
            serializer("msgpack", MSGPACK, "binary", Method::Msgpack),
            serializer("yaml", YAML, "utf-8", Method::Yaml),
            serializer("pickle", PICKLE, "binary", Method::Pickle),
        ],
        refused: vec![PICKLE, YAML, MSGPACK],
    })
});

pub(super) const JSON: ShortStr = ShortStr::from_static("application/json");
pub(super) const TEXT: ShortStr = ShortStr::from_static("text/plain");
pub(super) const DATA: ShortStr = ShortStr::from_static("application/data");
pub(super) const MSGPACK: ShortStr = ShortStr::from_static("application/x-msgpack");
pub(super) const YAML: ShortStr = ShortStr::from_static("application/x-yaml");
pub(super) const PICKLE: ShortStr = ShortStr::from_static("application/x-python-serialize");

impl Table {
    fn named(&self, name: &str) -> Result<&Serializer> {
        self.serializers.iter().find(|serializer| serializer.name == name).ok_or_else(|| {
            let known = self.names().join(", ");
            Error::new(ErrorKind::InvalidArgument, format!("unknown serializer `{name}`; known: {known}"))
        })
    }

    fn names(&self) -> Vec<ShortStr> {
        let mut names: Vec<_> = self.serializers.iter().map(|serializer| serializer.name.clone()).collect();
        names.sort();
        names
    }
}

/// Returns the serializer of that name.
pub(super) fn named(name: &str) -> Result<Serializer> {
    TABLE.load().named(name).cloned()
}

/// Returns how bodies of that content type are decoded; `None` when nobody said.
pub(super) fn method_of(content_type: &str) -> Option<Method> {
    let table = TABLE.load();
    let serializer = table.serializers.iter().find(|serializer| serializer.content_type == content_type);
    serializer.map(|serializer| serializer.method.clone())
}

/// Returns `name` itself if it is a content type already, otherwise that of the serializer.
pub(super) fn content_type_of(name: &str) -> Result<ShortStr> {
    if name.contains('/') { Ok(name.into()) } else { Ok(TABLE.load().named(name)?.content_type.clone()) }
}

/// Returns the name of the serializer of a content type.
pub(super) fn name_of(content_type: &str) -> Option<ShortStr> {
    let table = TABLE.load();
    let serializer = table.serializers.iter().find(|serializer| serializer.content_type == content_type);
    serializer.map(|serializer| serializer.name.clone())
}

/// Tells whether a default accept list refuses a content type.
pub(super) fn is_refused(content_type: &str) -> bool {
    TABLE.load().refused.iter().any(|refused| *refused == content_type)
}
