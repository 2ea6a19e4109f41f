//! Which content types a consumer decodes.

use std::sync::Arc;

use super::registry;
use crate::error::{Error, ErrorKind, Result};
use crate::short_str::ShortStr;

/// The content types whose bodies may be decoded: what a consumer trusts its senders with.
///
/// The default is Kombu's: `json`, text, bytes and every other type except `msgpack`, `yaml` and `pickle`.
/// A list of one's own admits only what it names, and always bytes (`application/data`, `application/text`). `pickle` is
/// admitted by no list, because reading it runs the sender's code.
///
/// # Example
///
/// ```
/// use kombu_core::AcceptList;
///
/// let accept = AcceptList::new(["msgpack", "text/plain"])?;
/// assert!(accept.allows("application/x-msgpack") && accept.allows("text/plain"));
/// assert!(!accept.allows("application/json"));
/// assert!(AcceptList::default().allows("application/json"));
/// # Ok::<(), kombu_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcceptList(Option<Arc<[ShortStr]>>);

impl AcceptList {
    /// Makes a list of serializer names (`json`) and content types (`application/json`); an empty one admits only bytes.
    ///
    /// # Errors
    ///
    /// `InvalidArgument`, listing what exists, for a name without serializer, and for `pickle`.
    pub fn new<I>(names: I) -> Result<Self>
    where
        I: IntoIterator<Item: AsRef<str>>,
    {
        let content_types = names.into_iter().map(|name| {
            let content_type = registry::content_type_of(name.as_ref())?;
            if content_type == registry::PICKLE {
                return Err(Error::new(
                    ErrorKind::InvalidArgument,
                    "pickle is never decoded; leave it out of `accept`",
                ));
            }
            Ok(content_type)
        });
        Ok(AcceptList(Some(content_types.collect::<Result<_>>()?)))
    }

    /// Tells whether bodies of `content_type` may be decoded.
    pub fn allows(&self, content_type: &str) -> bool {
        if matches!(content_type, "application/data" | "application/text") {
            return true;
        }
        match &self.0 {
            Some(content_types) => content_types.iter().any(|allowed| *allowed == content_type),
            None => !registry::is_refused(content_type),
        }
    }

    /// Fails unless bodies of `content_type` may be decoded.
    ///
    /// # Errors
    ///
    /// `ContentDisallowed`, naming the type and the list.
    pub fn check(&self, content_type: &str) -> Result<()> {
        if self.allows(content_type) {
            return Ok(());
        }
        let error = match registry::name_of(content_type) {
            Some(name) => format!("refusing to decode {name} ({content_type})"),
            None => format!("refusing to decode {content_type}"),
        };
        let accept = self.0.as_ref().map_or_else(|| "default".into(), |content_types| content_types.join(", "));
        Err(Error::new(ErrorKind::ContentDisallowed, error).with("accept", accept))
    }
}
