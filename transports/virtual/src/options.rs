//! How a broker behaves.

/// How a [`VirtualBroker`](crate::VirtualBroker) behaves.
#[non_exhaustive]
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    /// How many messages that nobody could handle are kept for each queue, to be looked at with
    /// [`Channel::malformed`](kombu_core::Channel::malformed); default 1000. The oldest gives way to a new one and is gone.
    pub malformed_limit: usize,
}

impl Default for BrokerOptions {
    fn default() -> Self {
        BrokerOptions { malformed_limit: 1000 }
    }
}
