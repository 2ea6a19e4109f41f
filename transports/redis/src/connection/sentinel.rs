//! Where the master is, by the word of the sentinels.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use kombu_core::{Error, ErrorKind, Recovery, Result};
use redis::Value;

use super::inquiry::{Inquiry, accepted};
use super::tls::Tls;
use super::unexpected;
use crate::options::SentinelOptions;

/// The sentinels of one master.
#[derive(Debug)]
pub(crate) struct Sentinels {
    options: SentinelOptions,
    pub(crate) tls: Option<Tls>,
    /// Which of the hosts is asked first: the last one that knew.
    first: Mutex<usize>,
}

impl Sentinels {
    /// Makes one from the options.
    ///
    /// # Errors
    ///
    /// `Unsupported` for TLS in a build without.
    pub(crate) fn new(options: SentinelOptions) -> Result<Self> {
        let tls = options.tls.clone().map(Tls::new).transpose()?;
        Ok(Sentinels { options, tls, first: Mutex::new(0) })
    }

    /// Asks one sentinel after the other where the master is. Blocks, for `patience` at most: not for the hub's thread.
    ///
    /// # Errors
    ///
    /// `ConnectionLost`, worth a retry, when none of them can tell, with what each of them said; `AccessRefused` when they all
    /// refuse.
    pub(crate) fn master(&self, patience: Duration) -> Result<(String, u16)> {
        let hosts = &self.options.hosts;
        let end = Instant::now() + patience;
        let start = *self.first.lock().unwrap_or_else(PoisonError::into_inner);
        let mut said = Vec::new();
        let mut refused = 0;
        for offset in 0..hosts.len() {
            let index = (start + offset) % hosts.len();
            let (host, port) = &hosts[index];
            let left = end.saturating_duration_since(Instant::now());
            let share = left / u32::try_from(hosts.len() - offset).unwrap_or(1).max(1);
            let share = self.options.timeout.map_or(share, |timeout| timeout.min(left));
            match self.ask(host, *port, Instant::now() + share) {
                Ok(master) => {
                    *self.first.lock().unwrap_or_else(PoisonError::into_inner) = index;
                    return Ok(master);
                }
                Err(error) => {
                    tracing::debug!(sentinel = %format_args!("{host}:{port}"), %error, "a sentinel does not know");
                    refused +=
                        usize::from(matches!(error.kind(), ErrorKind::AccessRefused | ErrorKind::InvalidArgument));
                    said.push(format!("{host}:{port}: {error}"));
                }
            }
        }
        let kind = if refused == hosts.len() { ErrorKind::AccessRefused } else { ErrorKind::ConnectionLost };
        let message = format!("no sentinel knows a master `{}`: {}", self.options.master_name, said.join("; "));
        let error = Error::new(kind, message);
        Err(if kind == ErrorKind::ConnectionLost { error.recoverable_by(Recovery::Reconnect) } else { error })
    }

    fn ask(&self, host: &str, port: u16, deadline: Instant) -> Result<(String, u16)> {
        let options = &self.options;
        let mut inquiry = Inquiry::open(host, port, self.tls.as_ref(), deadline)?;
        inquiry.log_in(options.username.as_deref(), options.password.as_ref())?;
        let facts = match inquiry.ask(&["SENTINEL", "MASTER", &options.master_name])? {
            Value::ServerError(error) if error.details().is_some_and(|details| details.contains("No such master")) => {
                return Err(unknown("it watches no master of that name"));
            }
            other => Facts::read(accepted(other)?)?,
        };
        // What a single sentinel believes is not enough for a failover either.
        if facts.others < options.min_other_sentinels {
            let (others, min) = (facts.others, options.min_other_sentinels);
            return Err(unknown(&format!("it knows of {others} other sentinels, and `min_other_sentinels` is {min}")));
        }
        if facts.is_down {
            return Err(unknown("it says that the master is down"));
        }
        match inquiry.ask(&["SENTINEL", "GET-MASTER-ADDR-BY-NAME", &options.master_name])? {
            Value::Array(address) => read_address(&address).ok_or_else(|| unknown("its answer cannot be read")),
            Value::Nil => Err(unknown("it watches no master of that name")),
            other => Err(unexpected("SENTINEL", &accepted(other)?)),
        }
    }
}

/// What a sentinel says of a master.
struct Facts {
    is_down: bool,
    others: u32,
}

impl Facts {
    fn read(value: Value) -> Result<Self> {
        let pairs: Vec<(Value, Value)> = match value {
            Value::Map(pairs) => pairs,
            Value::Array(items) => {
                let mut items = items.into_iter();
                std::iter::from_fn(|| Some((items.next()?, items.next()?))).collect()
            }
            other => return Err(unexpected("SENTINEL MASTER", &other)),
        };
        let fact =
            |name: &str| pairs.iter().find(|(key, _)| text(key) == Some(name)).and_then(|(_, value)| text(value));
        let mut flags = fact("flags").unwrap_or_default().split(',');
        let is_down = flags.any(|flag| matches!(flag, "s_down" | "o_down"));
        let others = fact("num-other-sentinels").and_then(|number| number.parse().ok()).unwrap_or(0);
        Ok(Facts { is_down, others })
    }
}

fn read_address(items: &[Value]) -> Option<(String, u16)> {
    match items {
        [host, port] => Some((text(host)?.to_owned(), text(port)?.parse().ok()?)),
        _ => None,
    }
}

fn text(value: &Value) -> Option<&str> {
    match value {
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok(),
        Value::SimpleString(text) => Some(text),
        _ => None,
    }
}

fn unknown(what: &str) -> Error {
    Error::new(ErrorKind::ConnectionLost, what.to_owned()).recoverable_by(Recovery::Reconnect)
}
