//! TLS listeners of RabbitMQ with certificates made for the test, seen by Python's own `ssl`.

use kombu_brokers::{CertificateAuthority, PATIENCE, PythonKombu, RabbitServer};
use serde_json::{Value, json};

#[test]
fn a_server_shows_a_certificate_that_its_authority_vouches_for() {
    let authority = CertificateAuthority::new("Authority");
    let stranger = CertificateAuthority::new("Stranger");
    let identity = authority.server(&["localhost", "127.0.0.1"]);
    let server = RabbitServer::options().tls(&authority, &identity).start();
    let folder = tempfile::tempdir().unwrap();
    let trusted = authority.write(folder.path(), "authority");
    let unknown = stranger.write(folder.path(), "stranger");
    let port = server.tls_addr().port();
    assert_eq!(server.tls_url("localhost"), format!("amqps://guest:guest@localhost:{port}/%2F"));
    for host in ["localhost", "127.0.0.1"] {
        assert_eq!(connect(&json!({"host": host, "port": port, "ca": trusted})), json!({"connected": "guest"}));
    }
    let refused = connect(&json!({"host": "localhost", "port": port, "ca": unknown}));
    assert!(refused["error"].as_str().unwrap().contains("CERTIFICATE_VERIFY_FAILED"), "{refused}");
    let misnamed = connect(&json!({"host": "localhost", "name": "elsewhere", "port": port, "ca": trusted}));
    assert!(misnamed["error"].as_str().unwrap().contains("match"), "{misnamed}");
}

#[test]
fn clients_show_certificates_where_they_must_and_may_log_in_by_them() {
    let authority = CertificateAuthority::new("Authority");
    let stranger = CertificateAuthority::new("Stranger");
    let identity = authority.server(&["localhost"]);
    let server = RabbitServer::options().tls_with_client_certificates(&authority, &identity).external().start();
    server.add_user("worker", "unused");
    server.set_permissions("worker", "/", ".*", ".*", ".*");
    let folder = tempfile::tempdir().unwrap();
    let ca = authority.write(folder.path(), "authority");
    let port = server.tls_addr().port();
    let (certificate, key) = authority.client("worker").write(folder.path(), "worker");
    let ours = json!({"host": "localhost", "port": port, "ca": ca, "certificate": certificate, "key": key});
    assert_eq!(connect(&ours), json!({"connected": "guest"}), "by password");
    let mut external = ours.clone();
    external["external"] = json!(true);
    assert_eq!(connect(&external), json!({"connected": "worker"}), "by certificate");

    let without = connect(&json!({"host": "localhost", "port": port, "ca": ca}));
    assert!(without.get("error").is_some(), "{without}");
    let (certificate, key) = stranger.client("worker").write(folder.path(), "stranger");
    let strange = json!({"host": "localhost", "port": port, "ca": ca, "certificate": certificate, "key": key});
    assert!(connect(&strange).get("error").is_some());
    let (certificate, key) = authority.client("nobody").write(folder.path(), "nobody");
    let nobody =
        json!({"host": "localhost", "port": port, "ca": ca, "certificate": certificate, "key": key, "external": true});
    assert!(connect(&nobody)["error"].as_str().unwrap().contains("ACCESS_REFUSED"));
}

fn connect(to: &Value) -> Value {
    let mut client = PythonKombu::shared().spawn(CLIENT, &[&to.to_string()]);
    client.recv(PATIENCE * 2)
}

// Says as whom it is connected: RabbitMQ lets a message carry a `user_id` only if it is the sender's own.
const CLIENT: &str = r#"
import json, sys
import amqp

to = json.loads(sys.argv[1])
ssl = {'ca_certs': to['ca'], 'server_hostname': to.get('name', to['host'])}
if 'certificate' in to:
    ssl.update(certfile=to['certificate'], keyfile=to['key'])
login = {'login_method': 'EXTERNAL' if to.get('external') else 'PLAIN'}
try:
    connection = amqp.Connection(host=f"{to['host']}:{to['port']}", ssl=ssl, connect_timeout=30, **login)
    connection.connect()
    channel = connection.channel()
    user = 'worker' if to.get('external') else 'guest'
    channel.queue_declare('q')
    channel.basic_publish_confirm(amqp.Message(b'x', user_id=user), routing_key='q')
    print(json.dumps({'connected': user}), flush=True)
except Exception as error:
    print(json.dumps({'error': f'{type(error).__name__}: {error}'}), flush=True)
"#;
