//! Encrypted connections prove who is at the other end.

use kombu_brokers::{CertificateAuthority, RabbitServer};
use kombu_core::{ErrorKind, Queue};

use crate::common::{collect, connection};

#[test]
fn chain_and_host_name_are_verified() {
    let authority = CertificateAuthority::new("tests");
    let server = RabbitServer::options().tls(&authority, &authority.server(&["localhost"])).start();
    let folder = server.folder();
    let trusted = authority.write(folder, "trusted");
    let foreign = CertificateAuthority::new("somebody else").write(folder, "foreign");
    let url = |host: &str, query: String| format!("{}?{query}", server.tls_url(host));

    let good = connection(&url("localhost", format!("ca_certs={}", trusted.display())));
    let (_consumer, bodies) = collect(&good, &Queue::new("q"));
    good.producer().publish("secret").routing_key("q").wait().unwrap();
    bodies.expect(["secret".to_owned()]);

    for (host, query, why) in [
        ("localhost", format!("ca_certs={}", foreign.display()), "UnknownIssuer"),
        ("127.0.0.1", format!("ca_certs={}", trusted.display()), "not valid for name"),
        ("localhost", String::new(), "UnknownIssuer"),
    ] {
        let error = connection(&url(host, query)).connect().wait().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AccessRefused, "{error}");
        assert!(error.to_string().contains(why), "{error}");
    }
    let named = url("127.0.0.1", format!("ca_certs={}&server_hostname=localhost", trusted.display()));
    connection(&named).connect().wait().unwrap();
    let error = connection(&url("localhost", "ca_certs=/nowhere.pem".to_owned())).connect().wait().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    assert!(error.to_string().contains("/nowhere.pem"), "{error}");
}

#[test]
fn a_client_certificate_lets_in_and_external_logs_in() {
    let authority = CertificateAuthority::new("tests");
    let server = RabbitServer::options()
        .tls_with_client_certificates(&authority, &authority.server(&["localhost"]))
        .external()
        .start();
    server.add_user("worker", "unused");
    server.set_permissions("worker", "/", ".*", ".*", ".*");
    let folder = server.folder();
    let trusted = authority.write(folder, "trusted");
    let (certificate, key) = authority.client("worker").write(folder, "worker");
    let port = server.tls_addr().port();

    let url = format!(
        "amqps://localhost:{port}/%2F?ca_certs={}&certfile={}&keyfile={}&login_method=EXTERNAL",
        trusted.display(),
        certificate.display(),
        key.display()
    );
    let good = connection(&url);
    let (_consumer, bodies) = collect(&good, &Queue::new("q"));
    good.producer().publish("hello").routing_key("q").user_id("worker").wait().unwrap();
    bodies.expect(["hello".to_owned()]);

    let without = connection(&format!("amqps://localhost:{port}/%2F?ca_certs={}", trusted.display()));
    let error = without.connect().wait().unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::AccessRefused | ErrorKind::ConnectionLost), "{error}");
}
