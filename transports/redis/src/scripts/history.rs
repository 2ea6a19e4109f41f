//! Counting what is declared.

use kombu_core::Result;
use redis::{Cmd, Value};

use super::{script, unexpected};
use crate::keys::Keys;

/// Counts what is declared, and asks how much of what was counted the server has lost.
#[derive(Debug)]
pub(crate) struct Count<'a> {
    /// The names of the shared keys.
    pub(crate) keys: &'a Keys,
    /// Which run of the server it is, where it says so.
    pub(crate) run: &'a str,
    /// What tells a history that begins with this from others; none to count nothing.
    pub(crate) id: Option<&'a str>,
}

/// What the server knows of what was declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    /// How far it has counted.
    pub(crate) mark: Mark,
    /// Numbers above the first, up to the second, were lost.
    pub(crate) gaps: Vec<(u64, u64)>,
}

/// A place in a history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// What tells the history from one that began anew.
    pub(crate) id: String,
    /// How far it went.
    pub(crate) number: u64,
}

impl Count<'_> {
    /// Returns the command.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = script("history").evalsha(1);
        command.arg(self.keys.history()).arg(self.run);
        command.arg(if self.id.is_some() { "n" } else { "" }).arg(self.id.unwrap_or_default());
        command
    }

    /// Reads the answer.
    ///
    /// # Errors
    ///
    /// `Protocol` when it is not this script's.
    pub(crate) fn read(answer: &Value) -> Result<Counted> {
        let counted = || {
            let Value::Array(parts) = answer else { return None };
            let [Value::BulkString(id), last, Value::Array(gaps)] = parts.as_slice() else { return None };
            let number = |value: &Value| match value {
                Value::Int(number) => u64::try_from(*number).ok(),
                _ => None,
            };
            let gaps = gaps.chunks_exact(2).map(|gap| Some((number(&gap[0])?, number(&gap[1])?)));
            let mark = Mark { id: String::from_utf8_lossy(id).into_owned(), number: number(last)? };
            Some(Counted { mark, gaps: gaps.collect::<Option<_>>()? })
        };
        counted().ok_or_else(|| unexpected("history", answer))
    }
}

impl Counted {
    /// Says whether everything is there that came before a mark.
    pub(crate) fn has(&self, mark: &Mark) -> bool {
        let is_lost = |(from, to): &(u64, u64)| *from < mark.number && mark.number <= *to;
        self.mark.id == mark.id && !self.gaps.iter().any(is_lost)
    }
}
