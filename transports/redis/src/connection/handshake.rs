//! The first commands on a connection.

use kombu_core::{Error, ErrorKind, Recovery, Result};
use redis::Value;

use super::command::command;
use super::{Target, refusal, unexpected};
use crate::scripts;

/// `AUTH`, `SELECT`, `CLIENT SETNAME`, `CLIENT ID`, `INFO server`, `ROLE`, `CLUSTER`, `HELLO`, `CLIENT TRACKING`, `PING`: what of
/// it the target needs, sent together, answered in order.
///
/// Call [`new`](Handshake::new), send the bytes, then [`handle_reply`](Handshake::handle_reply) until it says done.
pub(crate) struct Handshake {
    steps: std::vec::IntoIter<Step>,
    greeting: Greeting,
    speaks_resp3: bool,
}

/// What the server told about itself.
#[derive(Clone, Debug, Default)]
pub(crate) struct Greeting {
    /// The number of this connection, for `CLIENT UNBLOCK`.
    pub(crate) client_id: Option<i64>,
    /// The server's version, such as `[7, 0, 15]`.
    pub(crate) version: Option<[u32; 3]>,
    /// What tells one run of the server from another: connections are numbered anew in each.
    pub(crate) run_id: Option<String>,
    /// Whether it is a node of a cluster.
    pub(crate) is_cluster: bool,
    /// What it is called there.
    pub(crate) node_id: Option<String>,
    /// Which nodes serve which slots.
    pub(crate) slots: Option<Vec<Value>>,
    /// Whether the server tells on this connection when what was read there has changed.
    pub(crate) is_tracking: bool,
}

#[derive(Clone, Copy)]
enum Step {
    Auth,
    Select,
    SetName,
    Id,
    Info,
    Role,
    NodeId,
    Slots,
    Load,
    Hello,
    Track,
    Ping,
}

impl Handshake {
    /// Begins a handshake, appending what to send to `out`.
    /// With `for_commands` the server also learns our scripts, and is asked to tell when what was read has changed.
    pub(crate) fn new(target: &Target, for_commands: bool, out: &mut Vec<u8>) -> Self {
        let mut steps = Vec::new();
        match (&target.username, &target.password) {
            (Some(username), password) => {
                command(out, &["AUTH", username, password.as_ref().map_or("", |password| password.reveal())]);
                steps.push(Step::Auth);
            }
            (None, Some(password)) => {
                command(out, &["AUTH", password.reveal()]);
                steps.push(Step::Auth);
            }
            (None, None) => {}
        }
        if target.database != 0 {
            command(out, &["SELECT", &target.database.to_string()]);
            steps.push(Step::Select);
        }
        if let Some(name) = &target.client_name {
            command(out, &["CLIENT", "SETNAME", name]);
            steps.push(Step::SetName);
        }
        command(out, &["CLIENT", "ID"]);
        command(out, &["INFO", "server"]);
        steps.extend([Step::Id, Step::Info]);
        if target.sentinels.is_some() {
            command(out, &["ROLE"]);
            steps.push(Step::Role);
        }
        if target.cluster.is_some() {
            command(out, &["CLUSTER", "MYID"]);
            command(out, &["CLUSTER", "SLOTS"]);
            steps.extend([Step::NodeId, Step::Slots]);
        }
        if for_commands {
            for script in scripts::all() {
                script.load().write_packed_command(out);
                steps.push(Step::Load);
            }
            command(out, &["HELLO", "3"]);
            command(out, &["CLIENT", "TRACKING", "ON", "OPTIN"]);
            steps.extend([Step::Hello, Step::Track]);
        }
        command(out, &["PING"]);
        steps.push(Step::Ping);
        Handshake { steps: steps.into_iter(), greeting: Greeting::default(), speaks_resp3: false }
    }

    /// Takes the next reply; `Some` when that was the last.
    ///
    /// # Errors
    ///
    /// What the server refuses: credentials, the database, or everything because it is loading.
    pub(crate) fn handle_reply(&mut self, value: &Value) -> Result<Option<Greeting>> {
        match (self.steps.next(), value) {
            (Some(Step::Auth), Value::Okay) | (Some(Step::Select), Value::Okay) => {}
            (Some(Step::Auth), Value::ServerError(error)) => return Err(refusal(error).during("connect")),
            (Some(Step::Select), other) => return Err(unexpected("SELECT", other).during("connect")),
            (Some(Step::Id), Value::Int(id)) => self.greeting.client_id = Some(*id),
            (Some(Step::Info), Value::BulkString(info)) => {
                let info = String::from_utf8_lossy(info);
                self.greeting.version = fact(&info, "redis_version").and_then(version);
                self.greeting.run_id = fact(&info, "run_id").map(str::to_owned);
                self.greeting.is_cluster = fact(&info, "redis_mode") == Some("cluster");
            }
            (Some(Step::Role), Value::Array(role)) => {
                if let Some(Value::BulkString(role)) = role.first()
                    && role != b"master"
                {
                    let message = "the sentinels' word is late: the server they name is no master";
                    return Err(Error::new(ErrorKind::ConnectionLost, message).recoverable_by(Recovery::Reconnect));
                }
            }
            (Some(Step::NodeId), Value::BulkString(id)) => {
                self.greeting.node_id = Some(String::from_utf8_lossy(id).into_owned());
            }
            (Some(Step::Slots), Value::Array(slots)) => self.greeting.slots = Some(slots.clone()),
            // A server that refuses its names or facts, by its rules of access, still carries messages.
            (Some(Step::Load), Value::ServerError(error)) if error.code() == "NOPERM" => {
                return Err(refusal(error).with("needs", "the commands SCRIPT and EVALSHA"));
            }
            // Who is no node, or must not say, says nothing.
            (Some(Step::Role | Step::NodeId | Step::Slots), _) => {}
            (Some(Step::Hello), Value::Map(_)) => self.speaks_resp3 = true,
            (Some(Step::Track), Value::Okay) => self.greeting.is_tracking = self.speaks_resp3,
            (Some(Step::SetName | Step::Id | Step::Info | Step::Load | Step::Hello | Step::Track), _) => {}
            (Some(Step::Ping), Value::SimpleString(text)) if text == "PONG" => return Ok(Some(self.greeting.clone())),
            // `NOPERM` for PING alone is a rule of access as well: the credentials were taken.
            (Some(Step::Ping), Value::ServerError(error)) if error.code() == "NOPERM" => {
                return Ok(Some(self.greeting.clone()));
            }
            (Some(Step::Ping), other) => return Err(unexpected("PING", other).during("connect")),
            (_, other) => return Err(unexpected("AUTH", other).during("connect")),
        }
        Ok(None)
    }
}

fn fact<'i>(info: &'i str, name: &str) -> Option<&'i str> {
    info.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
}

fn version(number: &str) -> Option<[u32; 3]> {
    let mut parts = number.split('.').map(|part| part.parse().unwrap_or(0));
    Some([parts.next()?, parts.next().unwrap_or(0), parts.next().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_out_of_the_servers_words() {
        let info = "# Server\r\nredis_version:7.0.15\r\nrun_id:abc\r\n";
        assert_eq!(fact(info, "redis_version").and_then(version), Some([7, 0, 15]));
        assert_eq!(fact(info, "run_id"), Some("abc"));
        assert_eq!(fact(info, "uptime"), None);
    }
}
