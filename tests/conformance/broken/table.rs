//! Which checks must fail for each broken promise: these and no others.

mod consumers;
mod hub;
mod lifecycle;
mod message;
mod routing;
mod settle;
mod topology;

use crate::fault::Fault;
use crate::hub::HubFault;

/// What a broker inside the process cannot break: these checks need a network, or another process. They are held against real
/// brokers, where the redis and amqp suites run them.
pub(crate) const NEED_A_NETWORK: &[&str] = &[
    "connect_errors_are_clean",
    "wrong_password_is_refused",
    "lasting_error_backs_off",
    "failover_to_second_url",
    "link_cut_resumes_consumption",
    "link_cut_resumes_publishing",
    "broker_restart_keeps_persistent",
    "blocked_publish_says_so",
    "killed_consumer_loses_nothing",
    "two_processes_share_no_identity",
];

/// Transports, and the checks that catch them.
pub(crate) fn transports() -> impl Iterator<Item = (Fault, &'static [&'static str])> {
    let parts = [
        topology::VARIANTS,
        routing::VARIANTS,
        settle::VARIANTS,
        consumers::VARIANTS,
        message::VARIANTS,
        lifecycle::VARIANTS,
    ];
    parts.into_iter().flatten().copied()
}

/// Hubs, and the checks that catch them.
pub(crate) fn hubs() -> impl Iterator<Item = (HubFault, &'static [&'static str])> {
    hub::VARIANTS.iter().copied()
}
