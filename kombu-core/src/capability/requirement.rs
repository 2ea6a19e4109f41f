//! What a program needs of a transport.

use std::fmt;
use std::time::Duration;

use super::{Capabilities, Ordering, Priority, PriorityOrder};
use crate::error::{Error, ErrorKind, Result};
use crate::registry;

/// Something a program needs of its transport; see [`Connection::require`](crate::Connection::require).
///
/// A capability that is a [`Support`](super::Support) is named by its field, as text.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requirement {
    /// The capability of that name, native or emulated.
    Capability(String),
    /// At least so many priorities are told apart.
    PriorityLevels(u8),
    /// This end of the priorities is served first.
    PriorityOrder(PriorityOrder),
    /// Bodies may have this many bytes.
    BodyOf(u64),
    /// The messages of a killed consumer come back within this time.
    RestoreWithin(Duration),
    /// Consumers can rely on this order; that of the queue is also that of each publisher.
    Ordering(Ordering),
}

impl From<&str> for Requirement {
    fn from(name: &str) -> Self {
        Requirement::Capability(name.to_owned())
    }
}

impl From<PriorityOrder> for Requirement {
    fn from(order: PriorityOrder) -> Self {
        Requirement::PriorityOrder(order)
    }
}

impl From<Ordering> for Requirement {
    fn from(ordering: Ordering) -> Self {
        Requirement::Ordering(ordering)
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Requirement::Capability(name) => f.write_str(name),
            Requirement::PriorityLevels(levels) => write!(f, "{levels} priorities"),
            Requirement::PriorityOrder(PriorityOrder::HighFirst) => f.write_str("higher priorities first"),
            Requirement::PriorityOrder(PriorityOrder::LowFirst) => f.write_str("lower priorities first"),
            Requirement::BodyOf(bytes) => write!(f, "bodies of {bytes} bytes"),
            Requirement::RestoreWithin(time) => write!(f, "messages of a killed consumer back within {time:?}"),
            Requirement::Ordering(Ordering::Queue) => f.write_str("the order of the queue"),
            Requirement::Ordering(Ordering::Publisher) => f.write_str("the order of each publisher"),
            Requirement::Ordering(Ordering::None) => f.write_str("any order"),
        }
    }
}

impl Capabilities {
    /// Checks that a transport can do everything a program needs.
    ///
    /// # Errors
    ///
    /// `Unsupported`, naming everything that is missing (`missing`, separated by commas); `InvalidArgument` for a name that is no
    /// capability, with the nearest that is.
    pub fn require(&self, requirements: &[Requirement]) -> Result<()> {
        let mut missing = Vec::new();
        for requirement in requirements {
            if !self.meets(requirement)? {
                missing.push(requirement.to_string());
            }
        }
        if missing.is_empty() {
            return Ok(());
        }
        let missing = missing.join(", ");
        Err(Error::new(ErrorKind::Unsupported, format!("the transport lacks: {missing}")).with("missing", missing))
    }

    fn meets(&self, requirement: &Requirement) -> Result<bool> {
        Ok(match requirement {
            Requirement::Capability(name) if name == "priority" => self.priority.is_some(),
            Requirement::Capability(name) => {
                let all = self.supports();
                match all.iter().find(|(known, _)| known == name) {
                    Some((_, support)) => support.is_available(),
                    None => return Err(unknown(name, &all.iter().map(|(known, _)| *known).collect::<Vec<_>>())),
                }
            }
            Requirement::PriorityLevels(levels) => {
                self.priority.is_some_and(|Priority { levels: has, .. }| has >= *levels)
            }
            Requirement::PriorityOrder(order) => self.priority.is_some_and(|priority| priority.order == *order),
            Requirement::BodyOf(bytes) => self.max_body.is_none_or(|max| max >= *bytes),
            Requirement::RestoreWithin(time) => self.restore_after_crash.is_some_and(|restores| restores <= *time),
            Requirement::Ordering(Ordering::None) => true,
            Requirement::Ordering(Ordering::Publisher) => self.ordering != Ordering::None,
            Requirement::Ordering(Ordering::Queue) => self.ordering == Ordering::Queue,
        })
    }
}

#[cold]
fn unknown(name: &str, known: &[&str]) -> Error {
    let text = match registry::nearest(name, known) {
        Some(nearest) => format!("there is no capability `{name}`; did you mean `{nearest}`?"),
        None => format!("there is no capability `{name}`"),
    };
    Error::new(ErrorKind::InvalidArgument, text).with("capability", name)
}

#[cfg(test)]
mod tests {
    use super::super::Support;
    use super::*;

    #[test]
    fn everything_missing_is_in_one_error() {
        let can = Capabilities {
            nack: Support::Emulated,
            priority: Some(Priority { levels: 4, order: PriorityOrder::LowFirst }),
            max_body: Some(1000),
            ..Capabilities::default()
        };
        let met = ["nack".into(), PriorityOrder::LowFirst.into(), Requirement::BodyOf(1000), Ordering::Queue.into()];
        can.require(&met).unwrap();
        let unmet = [
            "dead_letter".into(),
            "nack".into(),
            "delayed".into(),
            PriorityOrder::HighFirst.into(),
            Requirement::PriorityLevels(10),
            Requirement::BodyOf(1001),
            Requirement::RestoreWithin(Duration::from_secs(30)),
        ];
        let error = can.require(&unmet).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert_eq!(
            error.context("missing"),
            Some(
                "dead_letter, delayed, higher priorities first, 10 priorities, bodies of 1001 bytes, \
                 messages of a killed consumer back within 30s"
            )
        );
        let error = can.require(&["dead_leter".into()]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("did you mean `dead_letter`"), "{error}");
    }
}
