//! The options of a table: names, values, limits.

use std::time::Duration;

use kombu_core::{FieldTable, PriorityOrder, Result, Value};

use super::names::{self, invalid};
use super::take::Taker;
use super::{BodyEncoding, ConfirmBy, FanoutPrefix, KeptIn, QueueOrder, RedisOptions, Wake};

impl RedisOptions {
    /// Reads the options of `table`; the URL's are among them, as text.
    pub(super) fn read_table(&mut self, table: &FieldTable) -> Result<()> {
        for name in table.keys() {
            names::check_name(name)?;
        }
        let options = &Taker(table);
        options.text("sep", &mut self.sep)?;
        if self.sep.is_empty() {
            return Err(invalid("sep", "is empty"));
        }
        options.text("global_keyprefix", &mut self.global_keyprefix)?;
        if let Some(steps) = options.steps("priority_steps")? {
            self.priority_steps = steps;
        }
        if let Some(prefix) = fanout_prefix(options)? {
            self.fanout_prefix = prefix;
        }
        options.flag("fanout_patterns", &mut self.fanout_patterns)?;
        options.flag("fanout_stored", &mut self.fanout_stored)?;
        options.seconds("visibility_timeout", &mut self.visibility_timeout)?;
        options.text("unacked_key", &mut self.unacked_key)?;
        options.text("unacked_index_key", &mut self.unacked_index_key)?;
        options.text("unacked_mutex_key", &mut self.unacked_mutex_key)?;
        options.seconds("unacked_mutex_expire", &mut self.unacked_mutex_expire)?;
        self.unacked_restore_limit = options.number("unacked_restore_limit")?.or(self.unacked_restore_limit);
        options.interval("unacked_restore_interval", &mut self.unacked_restore_interval)?;
        if let Some(throttle) = options.number::<u32>("unacked_restore_throttle")? {
            self.unacked_restore_throttle = throttle.max(1);
        }
        options.choice("queue_order_strategy", QUEUE_ORDERS, &mut self.queue_order_strategy)?;
        options.optional_seconds("polling_interval", &mut self.polling_interval)?;
        options.optional_text("client_name", &mut self.client_name)?;
        options.optional_seconds("health_check_interval", &mut self.health_check_interval)?;
        options.optional_seconds("socket_timeout", &mut self.socket_timeout)?;
        options.optional_seconds("socket_connect_timeout", &mut self.socket_connect_timeout)?;
        options.flag("socket_keepalive", &mut self.keepalive.is_on)?;
        self.read_keepalive(table)?;
        // What was not answered is sent again until its deadline, with this or without.
        options.flag("retry_on_timeout", &mut false)?;
        // It matters to a provider of credentials only.
        options.seconds("reauth_check_interval", &mut Duration::default())?;
        if let Some(limit) = options.number::<u32>("max_connections")?
            && limit < SOCKETS
        {
            return Err(invalid(
                "max_connections",
                format_args!("is {limit}; a connection uses up to {SOCKETS} sockets"),
            ));
        }
        self.read_confirm(options)?;
        options.choice("priority_order", PRIORITY_ORDERS, &mut self.priority_order)?;
        options.choice("body_encoding", BODY_ENCODINGS, &mut self.body_encoding)?;
        options.optional_text("deadletter_queue", &mut self.deadletter_queue)?;
        if let Some(size) = options.number::<usize>("max_message_size")? {
            self.max_message_size = size.max(1);
        }
        if let Some(depth) = options.number::<usize>("max_nesting")? {
            self.max_nesting = Some(depth)
                .filter(|depth| (MIN_NESTING..=Self::MAX_NESTING).contains(depth))
                .ok_or_else(|| invalid("max_nesting", format_args!("is not {MIN_NESTING} to {}", Self::MAX_NESTING)))?;
        }
        options.seconds("lease", &mut self.lease)?;
        if self.lease.is_zero() {
            return Err(invalid("lease", "is no time at all: a consumer could give no sign of life in it"));
        }
        options.optional_seconds("max_hold", &mut self.max_hold)?;
        options.choice("wake", WAKES, &mut self.wake)?;
        options.choice("topology", TOPOLOGIES, &mut self.topology)?;
        for (name, supported, why) in names::UNSUPPORTED {
            if let Some(value) = table.get(name).filter(|value| !value.is_null() && !supported(value)) {
                return Err(names::unsupported(name, value, why));
            }
        }
        Ok(())
    }

    fn read_confirm(&mut self, options: &Taker<'_>) -> Result<()> {
        const NAME: &str = "confirm";
        let mut text = None;
        options.optional_text(NAME, &mut text)?;
        let Some(text) = text else { return Ok(()) };
        let inner = text.strip_prefix("wait(").and_then(|rest| rest.strip_suffix(')'));
        self.confirm = match (text.as_str(), inner.map(|count| count.trim().parse::<u32>())) {
            ("server", _) => ConfirmBy::Server,
            ("fsync", _) => ConfirmBy::Disk,
            (_, Some(Ok(count @ 1..=MAX_REPLICAS))) => ConfirmBy::Replicas(count),
            _ => {
                let wanted =
                    format_args!("is `{text}` instead of `server`, `wait(1)` to `wait({MAX_REPLICAS})`, or `fsync`");
                return Err(invalid(NAME, wanted));
            }
        };
        Ok(())
    }

    fn read_keepalive(&mut self, table: &FieldTable) -> Result<()> {
        const NAME: &str = "socket_keepalive_options";
        let Some(value) = table.get(NAME).filter(|value| !value.is_null()) else { return Ok(()) };
        let Value::Map(inner) = value else { return Err(invalid(NAME, "is no table of options")) };
        for (name, value) in inner {
            let number = value.as_u64().and_then(|number| u32::try_from(number).ok()).filter(|number| *number > 0);
            let number =
                number.ok_or_else(|| invalid(NAME, format_args!("has a `{name}` that is no positive number")))?;
            let seconds = Duration::from_secs(u64::from(number));
            // Python's names, and what they stand for on Linux.
            match name.as_str() {
                "TCP_KEEPIDLE" | "4" => self.keepalive.idle = Some(seconds),
                "TCP_KEEPINTVL" | "5" => self.keepalive.interval = Some(seconds),
                "TCP_KEEPCNT" | "6" => self.keepalive.retries = Some(number),
                _ => {
                    let known = "TCP_KEEPIDLE, TCP_KEEPINTVL and TCP_KEEPCNT";
                    return Err(invalid(NAME, format_args!("has a `{name}`; it takes {known}")));
                }
            }
        }
        Ok(())
    }
}

fn fanout_prefix(options: &Taker<'_>) -> Result<Option<FanoutPrefix>> {
    const NAME: &str = "fanout_prefix";
    let mut text = None;
    if let Ok(Some(flag)) = options.optional_flag(NAME) {
        return Ok(Some(if flag { FanoutPrefix::Database } else { FanoutPrefix::Empty }));
    }
    options.optional_text(NAME, &mut text)?;
    match text {
        Some(text) if text.starts_with('/') && text.find('.') == Some(text.len() - 1) => {
            Ok(Some(FanoutPrefix::Text(text)))
        }
        Some(_) => {
            Err(invalid(NAME, "must be true, false, or a text that starts with `/` and has its only `.` at the end"))
        }
        None => Ok(None),
    }
}

const QUEUE_ORDERS: &[(&str, QueueOrder)] =
    &[("round_robin", QueueOrder::RoundRobin), ("priority", QueueOrder::Priority), ("sorted", QueueOrder::Sorted)];
const BODY_ENCODINGS: &[(&str, BodyEncoding)] = &[("base64", BodyEncoding::Base64), ("utf-8", BodyEncoding::Utf8)];
const WAKES: &[(&str, Wake)] =
    &[("auto", Wake::Auto), ("blmove", Wake::Blmove), ("brpop", Wake::Brpop), ("tracking", Wake::Tracking)];

const TOPOLOGIES: &[(&str, KeptIn)] = &[("kombu", KeptIn::Kombu), ("registry", KeptIn::Registry)];

/// An envelope with properties and delivery info, and something in the headers.
const MIN_NESTING: usize = 4;

/// Commands, a waiter, a listener, and what keeps leases.
const SOCKETS: u32 = 4;

const PRIORITY_ORDERS: &[(&str, PriorityOrder)] =
    &[("low_first", PriorityOrder::LowFirst), ("high_first", PriorityOrder::HighFirst)];

const MAX_REPLICAS: u32 = 100;
