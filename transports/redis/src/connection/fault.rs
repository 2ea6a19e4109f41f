//! What a server's refusals mean.

use kombu_core::{Error, ErrorKind, Recovery};
use redis::{ServerError, Value};

/// Returns the error a refusal of the server stands for: kind and recovery by Redis's code word, the text Redis's own.
#[cold]
pub(crate) fn refusal(error: &ServerError) -> Error {
    let code = error.code();
    let details = error.details().unwrap_or("");
    let text = format!("{code} {details}");
    let retryable = |text| Error::new(ErrorKind::ConnectionLost, text).recoverable_by(Recovery::Retry);
    match code {
        "WRONGPASS" | "NOAUTH" | "NOPERM" => Error::new(ErrorKind::AccessRefused, text),
        "MOVED" | "ASK" | "LOADING" | "BUSY" | "READONLY" | "MASTERDOWN" | "TRYAGAIN" | "CLUSTERDOWN"
        | "BUSYLOADING" => retryable(text),
        "OOM" | "MISCONF" | "NOREPLICAS" => Error::new(ErrorKind::Overloaded, text),
        "WRONGTYPE" => Error::new(ErrorKind::PreconditionFailed, text),
        _ if details.contains("invalid password") || details.contains("without any password") => {
            Error::new(ErrorKind::AccessRefused, text)
        }
        _ if details.contains("DB index is out of range") || details.contains("invalid DB index") => {
            Error::new(ErrorKind::InvalidArgument, "the server has no database of that number")
        }
        _ if details.contains("SELECT is not allowed in cluster mode") => {
            Error::new(ErrorKind::InvalidArgument, "a Redis Cluster has no database but 0")
        }
        _ if details.contains("max number of clients") => retryable(text),
        _ => Error::new(ErrorKind::Internal, format!("the server refuses: {text}")),
    }
}

/// Says whether a refusal means that the server is not, or no longer, the one to talk to, or not yet: another one has the keys,
/// or will have them in a moment. Nothing was executed.
pub(crate) fn is_misplaced(error: &ServerError) -> bool {
    match error.code() {
        "READONLY" | "MASTERDOWN" | "MOVED" | "ASK" | "TRYAGAIN" | "CLUSTERDOWN" => true,
        // A blocked client, when its server becomes a replica.
        "UNBLOCKED" => error.details().is_some_and(|details| details.contains("instance state changed")),
        // Before Redis 7 a script's refusal is wrapped into another.
        _ => error.details().is_some_and(|details| details.contains("-READONLY ")),
    }
}

/// Returns the error of a reply that has another shape than the command gives.
#[cold]
pub(crate) fn unexpected(command: &'static str, value: &Value) -> Error {
    match value {
        Value::ServerError(error) => refusal(error),
        other => {
            let shape = match other {
                Value::Nil => "nil",
                Value::Int(_) => "a number",
                Value::BulkString(_) | Value::SimpleString(_) | Value::Okay => "a text",
                Value::Array(_) => "an array",
                _ => "something else",
            };
            Error::new(ErrorKind::Protocol, format!("{command} was answered by {shape}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(line: &str) -> ErrorKind {
        match redis::parse_redis_value(format!("-{line}\r\n").as_bytes()) {
            Ok(Value::ServerError(error)) => refusal(&error).kind(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn refusals_have_kinds() {
        assert_eq!(map("WRONGPASS invalid username-password pair or user is disabled."), ErrorKind::AccessRefused);
        assert_eq!(map("NOAUTH Authentication required."), ErrorKind::AccessRefused);
        assert_eq!(map("ERR invalid password"), ErrorKind::AccessRefused);
        assert_eq!(
            map("ERR AUTH <password> called without any password configured for the default user."),
            ErrorKind::AccessRefused
        );
        assert_eq!(map("OOM command not allowed when used memory > 'maxmemory'."), ErrorKind::Overloaded);
        assert_eq!(map("LOADING Redis is loading the dataset in memory"), ErrorKind::ConnectionLost);
        assert_eq!(map("ERR DB index is out of range"), ErrorKind::InvalidArgument);
    }
}
