//! How much a consumer may hold unsettled.

/// The window of a channel or consumer (AMQP `basic.qos`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Qos {
    /// How many deliveries may be unsettled at once; 0 means no limit, so that a backlog of any size is read into memory.
    pub prefetch_count: u16,
    /// Whether the window is the whole channel's instead of each consumer's.
    pub global: bool,
}

impl Qos {
    /// The window of a consumer that asked for none.
    pub const DEFAULT_PREFETCH: u16 = 256;
}

impl Default for Qos {
    /// Returns a window of [`DEFAULT_PREFETCH`](Qos::DEFAULT_PREFETCH) for each consumer.
    fn default() -> Self {
        Qos { prefetch_count: Self::DEFAULT_PREFETCH, global: false }
    }
}
