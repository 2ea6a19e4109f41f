//! What an application writes to reach Redis through TLS, sentinels and a cluster.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::time::Duration;

use kombu::FieldTable;
use kombu::prelude::*;
use kombu_brokers::{CertificateAuthority, PATIENCE, RedisCluster, RedisServer, eventually, free_port};

/// Publishes, consumes and acknowledges one message.
#[track_caller]
fn carries_messages(connection: &Connection) {
    let queue = Queue::new("orders");
    let confirmed = connection.producer().publish("one").routing_key("orders").wait().unwrap();
    assert_eq!(confirmed.queues, Some(1));
    let message = queue.get(connection).wait().unwrap().expect("it was published");
    assert_eq!(message.text().unwrap(), "one");
    message.ack().wait().unwrap();
}

#[test]
fn a_server_behind_tls() {
    let authority = CertificateAuthority::new("Test Authority");
    let identity = authority.server(&["127.0.0.1"]);
    let server = RedisServer::options().tls(&authority, &identity, false).start();
    let ca = authority.write(server.folder(), "authority");
    let url = format!("rediss://{}/0?ssl_ca_certs={}", server.tls_addr().unwrap(), ca.display());
    carries_messages(&Connection::new(&url).unwrap());
    let error = Connection::new(&format!("rediss://{}/0", server.tls_addr().unwrap())).unwrap().connect().wait();
    assert_eq!(error.unwrap_err().kind(), ErrorKind::AccessRefused);
}

#[test]
fn sentinels_as_a_list_of_urls() {
    let master = RedisServer::start();
    let sentinel = RedisServer::options().sentinel("orders", master.addr(), 1).start();
    // The first is away, and what the last says holds for all.
    let url =
        format!("sentinel://127.0.0.1:{};sentinel://{}/3?client_name=from-sentinel", free_port(), sentinel.addr());
    let connection = Connection::builder(&url).transport_option("master_name", "orders").build().unwrap();
    carries_messages(&connection);
    let clients = master.command(&["CLIENT", "LIST"]).text().to_owned();
    assert!(clients.lines().any(|line| line.contains("name=from-sentinel") && line.contains("db=3")), "{clients}");
    let error = Connection::new("sentinel://127.0.0.1/0").unwrap_err();
    assert!(error.to_string().contains("master_name"), "{error}");
    let kwargs = FieldTable::from([("pasword", "hush")]);
    let error = Connection::builder("sentinel://127.0.0.1/0?master_name=orders")
        .transport_option("sentinel_kwargs", kombu::Value::Map(kwargs))
        .build()
        .unwrap_err();
    assert!(error.to_string().contains("`password`") && !error.to_string().contains("hush"), "{error}");
}

#[test]
fn a_cluster_by_a_hash_tag_outlives_the_node_that_had_the_keys() {
    let mut cluster = RedisCluster::start(3, 1);
    let owner = cluster.owner("{shop}:");
    let other = (0..3).find(|node| *node != owner).unwrap();
    let url = format!("redis://{}/0", cluster.node(other).addr());
    let connection = Connection::builder(&url).transport_option("global_keyprefix", "{shop}:").build().unwrap();
    carries_messages(&connection);
    cluster.node_mut(owner).kill();
    let producer = connection.producer();
    let publish = producer.publish("afterwards").routing_key("orders").timeout(Duration::from_secs(60));
    assert_eq!(publish.wait().unwrap().queues, Some(1));
    assert!(eventually(PATIENCE, || cluster.find_owner("{shop}:") == Some(owner + 3)));
    let length = cluster.node(owner + 3).client().command(&["LLEN", "{shop}:orders"]).int();
    assert_eq!(length, 1);
    // Who forgets the tag is told so before a key is spread.
    let error = Connection::new(&url).unwrap().connect().wait().unwrap_err();
    assert!(error.to_string().contains("hash tag"), "{error}");
}
