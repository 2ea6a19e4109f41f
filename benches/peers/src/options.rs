//! What the program is asked to do.

/// The options of the command line.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// How often every measurement is made.
    pub(crate) rounds: usize,
    /// Bytes per body.
    pub(crate) body_size: usize,
    /// Messages per measurement in memory.
    pub(crate) memory: u64,
    /// Messages per measurement on Redis; a fifth for what is slow.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "what is not built is not measured"))]
    pub(crate) redis: u64,
    /// Messages per measurement on RabbitMQ.
    pub(crate) amqp: u64,
    /// Measure nothing but this.
    pub(crate) only: Option<String>,
}

/// What there is to measure.
const SUBJECTS: &[&str] = &[
    "memory",
    #[cfg(feature = "redis")]
    "redis",
    #[cfg(feature = "amqp")]
    "amqp",
];

const USAGE: &str =
    "usage: kombu-peers [--rounds 9] [--body-size 400] [--memory 1000000] [--redis 50000] [--amqp 20000] [--only memory|redis|amqp]
                   (--memory, --amqp: messages per measurement)";

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and what it should be.
    pub(crate) fn read(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options =
            Options { rounds: 9, body_size: 400, memory: 1_000_000, redis: 50_000, amqp: 20_000, only: None };
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value\n{USAGE}"))?;
            let number = || value.parse().map_err(|_| format!("{name} {value} is no number\n{USAGE}"));
            match name.as_str() {
                "--rounds" => options.rounds = number()? as usize,
                "--body-size" => options.body_size = number()? as usize,
                "--memory" => options.memory = number()?,
                "--redis" => options.redis = number()?,
                "--amqp" => options.amqp = number()?,
                "--only" if SUBJECTS.contains(&value.as_str()) => options.only = Some(value),
                _ => return Err(format!("{name} {value} is no option\n{USAGE}")),
            }
        }
        if options.rounds == 0 || options.body_size < 32 {
            return Err(format!("at least one round, and bodies of at least 32 bytes\n{USAGE}"));
        }
        Ok(options)
    }

    /// Says whether `subject` is to be measured.
    pub(crate) fn wants(&self, subject: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == subject)
    }
}
