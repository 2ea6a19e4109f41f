//! What is asked to be encrypted is encrypted, and only with whom is trusted.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kombu_brokers::{CertificateAuthority, Direction, FaultProxy, Identity, PATIENCE, RedisServer};
use kombu_core::{Error, ErrorKind, FieldTable};

use crate::common::{Rig, TestChannel, bodies, options};

/// A server with TLS, and files of its authority and a client's certificate.
struct Encrypted {
    server: RedisServer,
    authority: CertificateAuthority,
}

impl Encrypted {
    fn start(hosts: &[&str], asks_clients: bool) -> Self {
        let authority = CertificateAuthority::new("Test Authority");
        let identity = authority.server(hosts);
        let server = RedisServer::options().requirepass("secret").tls(&authority, &identity, asks_clients).start();
        Encrypted { server, authority }
    }

    fn url(&self) -> String {
        format!("rediss://:secret@{}/0", self.server.tls_addr().unwrap())
    }

    fn ca(&self) -> PathBuf {
        self.authority.write(self.server.folder(), "authority")
    }

    fn client(&self, identity: &Identity, name: &str) -> (String, String) {
        let (certificate, key) = identity.write(self.server.folder(), name);
        (text(&certificate), text(&key))
    }

    fn trusting(&self) -> FieldTable {
        options([("ssl_ca_certs", text(&self.ca()))])
    }
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[track_caller]
fn carries_messages(channel: &TestChannel) {
    let inbox = channel.consume("q");
    for number in 0..100 {
        drop(channel.send("", "q", format!("{number}")));
    }
    let deliveries = inbox.take(100);
    assert_eq!(bodies(&deliveries), (0..100).map(|number| number.to_string()).collect::<Vec<_>>());
    for delivery in &deliveries {
        channel.ack(delivery.tag).unwrap();
    }
    channel.cancel(&inbox);
}

#[track_caller]
fn refusal(url: &str, table: FieldTable) -> Error {
    let Err(error) = Rig::try_at(url, table) else { panic!("{url} can be connected to") };
    assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
    error
}

#[test]
fn a_server_of_an_authority_that_is_named_is_trusted() {
    let encrypted = Encrypted::start(&["127.0.0.1"], false);
    let rig = Rig::try_at(&encrypted.url(), encrypted.trusting()).unwrap();
    carries_messages(&rig.channel());
    // The three sockets of the connection, and none of them in clear text.
    let clients = encrypted.server.command(&["CLIENT", "LIST", "TYPE", "normal"]).text().to_owned();
    let plain = format!("laddr={}", encrypted.server.addr());
    assert_eq!(clients.lines().filter(|line| line.contains(&plain)).count(), 1, "only our own eyes: {clients}");
    let by_query = format!("{}?ssl_ca_certs={}", encrypted.url(), text(&encrypted.ca()));
    carries_messages(&Rig::at(&by_query).channel());
    let by_data = options([("ssl_ca_data", encrypted.authority.certificate())]);
    carries_messages(&Rig::try_at(&encrypted.url().replace("rediss", "valkeys"), by_data).unwrap().channel());
    let by_option = format!(
        "{}?ssl=true&ssl_ca_path={}",
        encrypted.url().replace("rediss", "redis"),
        encrypted.server.folder().display()
    );
    carries_messages(&Rig::at(&by_option).channel());
}

#[test]
fn a_server_of_an_authority_nobody_named_is_refused() {
    let encrypted = Encrypted::start(&["127.0.0.1"], false);
    let error = refusal(&encrypted.url(), FieldTable::new());
    assert_eq!(error.kind(), ErrorKind::AccessRefused, "{error}");
    assert!(error.to_string().contains("ssl_ca_certs"), "{error}");
    let other = CertificateAuthority::new("Somebody Else");
    let error = refusal(&encrypted.url(), options([("ssl_ca_data", other.certificate())]));
    assert_eq!(error.kind(), ErrorKind::AccessRefused, "{error}");
    // Unless that is what is wanted.
    carries_messages(&Rig::try_at(&encrypted.url(), options([("ssl_cert_reqs", "none")])).unwrap().channel());
}

#[test]
fn a_server_of_another_name_is_refused() {
    let encrypted = Encrypted::start(&["elsewhere.example"], false);
    let error = refusal(&encrypted.url(), encrypted.trusting());
    assert_eq!(error.kind(), ErrorKind::AccessRefused, "{error}");
    assert!(error.to_string().contains("name"), "{error}");
    let mut table = encrypted.trusting();
    table.insert("ssl_check_hostname", false);
    carries_messages(&Rig::try_at(&encrypted.url(), table).unwrap().channel());
    // The name may be anything then, the authority not.
    let other = CertificateAuthority::new("Somebody Else");
    let mut table = options([("ssl_ca_data", other.certificate())]);
    table.insert("ssl_check_hostname", false);
    assert_eq!(refusal(&encrypted.url(), table).kind(), ErrorKind::AccessRefused);
}

#[test]
fn a_client_shows_its_certificate() {
    let encrypted = Encrypted::start(&["127.0.0.1"], true);
    let error = refusal(&encrypted.url(), encrypted.trusting());
    assert_eq!(error.kind(), ErrorKind::AccessRefused, "{error}");
    assert!(error.to_string().contains("ssl_certfile"), "{error}");
    let (certfile, keyfile) = encrypted.client(&encrypted.authority.client("worker"), "worker");
    let mut table = encrypted.trusting();
    table.insert("ssl_certfile", certfile);
    table.insert("ssl_keyfile", keyfile);
    carries_messages(&Rig::try_at(&encrypted.url(), table.clone()).unwrap().channel());
    table.insert("ssl_min_version", "TLSv1.3");
    carries_messages(&Rig::try_at(&encrypted.url(), table.clone()).unwrap().channel());
    let stranger = CertificateAuthority::new("Somebody Else").client("worker");
    let (certfile, keyfile) = encrypted.client(&stranger, "stranger");
    table.insert("ssl_certfile", certfile);
    table.insert("ssl_keyfile", keyfile);
    assert_eq!(refusal(&encrypted.url(), table).kind(), ErrorKind::AccessRefused);
}

#[test]
fn certificates_that_cannot_be_read_are_named() {
    let encrypted = Encrypted::start(&["127.0.0.1"], false);
    let empty = encrypted.server.folder().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for (name, path) in [
        ("ssl_ca_certs", "/no/such/file.pem".to_owned()),
        ("ssl_ca_certs", text(&empty)),
        ("ssl_ca_path", "/no/such/directory".to_owned()),
        ("ssl_certfile", text(&empty)),
    ] {
        let mut table = encrypted.trusting();
        table.insert(name, path.as_str());
        let error = refusal(&encrypted.url(), table);
        assert_eq!((error.kind(), error.context("option")), (ErrorKind::InvalidArgument, Some(name)), "{error}");
        assert!(error.to_string().contains(&path), "{error}");
    }
}

#[test]
fn the_wrong_port_is_found_out() {
    let encrypted = Encrypted::start(&["127.0.0.1"], false);
    let without = format!("rediss://:secret@{}/0", encrypted.server.addr());
    let error = refusal(&without, encrypted.trusting());
    assert!(matches!(error.kind(), ErrorKind::Protocol | ErrorKind::ConnectionLost), "{error}");
    let with = format!("redis://:secret@{}/0", encrypted.server.tls_addr().unwrap());
    let error = refusal(&with, FieldTable::new());
    assert!(matches!(error.kind(), ErrorKind::Protocol | ErrorKind::ConnectionLost), "{error}");
}

#[test]
fn nothing_is_lost_when_bytes_trickle_or_the_connection_is_cut() {
    let encrypted = Encrypted::start(&["127.0.0.1"], false);
    let proxy = FaultProxy::start(encrypted.server.tls_addr().unwrap());
    proxy.trickle(Direction::ToClient, Duration::from_micros(100));
    let url = format!("rediss://:secret@{}/0", proxy.addr());
    let mut patient = encrypted.trusting();
    patient.insert("socket_connect_timeout", PATIENCE.as_secs());
    let rig = Rig::try_at(&url, patient).unwrap();
    let channel = rig.channel();
    let inbox = channel.consume("q");
    channel.publish("", "q", "drop by drop");
    assert_eq!(bodies(&inbox.take(1)), ["drop by drop"]);
    proxy.pass();
    channel.publish("", "q", "in one gush");
    assert_eq!(bodies(&inbox.take(1)), ["in one gush"]);
    proxy.cut();
    channel.publish("", "q", "afterwards");
    assert_eq!(bodies(&inbox.take(1)), ["afterwards"]);
}

#[test]
fn a_large_message_fills_buffers_and_passes() {
    let encrypted = Encrypted::start(&["127.0.0.1"], false);
    let rig = Rig::try_at(&encrypted.url(), encrypted.trusting()).unwrap();
    let channel = rig.channel();
    let body = vec![b'x'; 5_000_000];
    channel.publish("", "large", &body);
    let delivery = channel.get("large").unwrap();
    assert_eq!(delivery.envelope.body.len(), body.len());
    assert!(delivery.envelope.body == body);
}

#[test]
fn a_handshake_nobody_answers_ends_by_its_deadline() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("rediss://127.0.0.1:{}/0", listener.local_addr().unwrap().port());
    let error = refusal(&url, options([("socket_connect_timeout", "0.5"), ("ssl_cert_reqs", "none")]));
    assert_eq!(error.kind(), ErrorKind::ConnectionLost, "{error}");
    assert!(error.to_string().contains("in time"), "{error}");
}
