//! On RabbitMQ: published with confirms, consumed and acknowledged.

use kombu_benches::amqp::{self, Pace};
use kombu_benches::bodies::Bodies;
use kombu_benches::contest::{Side, hold};
use kombu_benches::rig::Via;
use kombu_brokers::RabbitServer;

use crate::lapin::{self, Ack};
use crate::options::Options;

/// Measures and prints.
pub(crate) fn measure(options: &Options, bodies: &Bodies) {
    // A node with the machine's processors, as it is run.
    let server = RabbitServer::options().all_processors().start();
    let vhost = server.vhost();
    let (rounds, count) = (options.rounds, options.amqp);
    hold(
        "RabbitMQ: published with confirms, 1024 under way",
        rounds,
        &mut [
            Side::new("ours", || amqp::publish(&vhost, Via::Default, Pace::Pipelined, count, bodies)),
            Side::new("lapin 4.12", || lapin::publish(&vhost, count, bodies)),
        ],
    );
    hold(
        "RabbitMQ: consumed and acknowledged, window of 256",
        rounds,
        &mut [
            Side::new("ours", || amqp::consume(&vhost, count, bodies)),
            Side::new("lapin 4.12, Delivery::ack", || lapin::consume(&vhost, Ack::Delivery, count, bodies)),
            Side::new("lapin 4.12, Channel::basic_ack", || lapin::consume(&vhost, Ack::Channel, count, bodies)),
        ],
    );
    hold(
        "RabbitMQ: published, consumed and acknowledged at once",
        rounds,
        &mut [
            Side::new("ours", || amqp::flow(&vhost, count, bodies)),
            Side::new("lapin 4.12, Delivery::ack", || lapin::flow(&vhost, Ack::Delivery, count, bodies)),
            Side::new("lapin 4.12, Channel::basic_ack", || lapin::flow(&vhost, Ack::Channel, count, bodies)),
        ],
    );
}
