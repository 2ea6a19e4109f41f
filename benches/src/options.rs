//! What `side_by_side` is asked to do.

use std::str::FromStr;

/// The options of the command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// How often every measurement is made.
    pub rounds: usize,
    /// Bytes per body.
    pub body_size: usize,
    /// Messages per measurement in memory.
    pub memory: u64,
    /// Messages per measurement on Redis.
    pub redis: u64,
    /// Messages per measurement on RabbitMQ.
    pub amqp: u64,
    /// Messages per measurement for Python.
    pub python: u64,
    /// Measure nothing but this: `memory`, `redis` or `amqp`.
    pub only: Option<String>,
}

const USAGE: &str =
    "usage: side_by_side [--rounds 5] [--body-size 400] [--memory 1000000] [--redis 50000] [--amqp 20000]
                    [--python 5000] [--only memory|redis|amqp]   (--memory to --python: messages per measurement)";

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what it should be.
    pub fn read(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Options {
            rounds: 5,
            body_size: 400,
            memory: 1_000_000,
            redis: 50_000,
            amqp: 20_000,
            python: 5_000,
            only: None,
        };
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
            match name.as_str() {
                "--rounds" => options.rounds = number(&name, &value)?,
                "--body-size" => options.body_size = number(&name, &value)?,
                "--memory" => options.memory = number(&name, &value)?,
                "--redis" => options.redis = number(&name, &value)?,
                "--amqp" => options.amqp = number(&name, &value)?,
                "--python" => options.python = number(&name, &value)?,
                "--only" if ["memory", "redis", "amqp"].contains(&value.as_str()) => options.only = Some(value),
                _ => return Err(format!("{name} {value} is no option\n{USAGE}")),
            }
        }
        if options.rounds == 0 || options.body_size < 32 {
            return Err(format!("at least one round, and bodies of at least 32 bytes\n{USAGE}"));
        }
        Ok(options)
    }

    /// Says whether `transport` is to be measured.
    pub fn wants(&self, transport: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == transport)
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name} takes a number, not `{value}`\n{USAGE}"))
}
