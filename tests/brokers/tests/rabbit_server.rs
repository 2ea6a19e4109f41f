//! Real RabbitMQ nodes: their own ports and folder, restarts, alarms, and what they tell about themselves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use kombu_brokers::{ChildProcess, PATIENCE, PythonKombu, PythonProcess, RabbitServer, eventually};
use serde_json::{Value, json};

#[test]
fn a_virtual_host_tells_what_is_in_it() {
    let vhost = RabbitServer::shared().vhost();
    let other = RabbitServer::shared().vhost();
    assert_ne!(vhost.name(), other.name());
    let mut client = client(&vhost.url());
    assert!(eventually(PATIENCE, || (vhost.connections(), vhost.channels()) == (1, 1)));
    do_now(
        &mut client,
        "channel.exchange_declare('ex', 'topic'); channel.queue_declare('q-\u{fc}'); channel.queue_declare('a')",
    );
    assert_eq!(vhost.queues(), ["a", "q-\u{fc}"]);
    assert_eq!(vhost.exchanges(), ["ex"]);
    do_now(&mut client, "[publish('a', b'x') for _ in range(5)]; channel.basic_get('a')");
    assert!(eventually(PATIENCE, || (vhost.messages("a"), vhost.unacknowledged("a")) == (5, 1)));
    assert_eq!(vhost.consumers("a"), 0);
    assert_eq!(vhost.queue_info("a", "durable"), "false");
    assert_eq!((other.connections(), other.channels()), (0, 0));
    assert_eq!((other.queues(), other.exchanges()), (vec![], vec![]));
    drop(client);
    assert!(eventually(PATIENCE, || (vhost.connections(), vhost.channels()) == (0, 0)));
}

#[test]
fn a_virtual_host_is_gone_when_dropped() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let mut client = client(&vhost.url());
    let exists = format!("rabbit_vhost:exists(<<\"{}\">>)", vhost.name());
    assert_eq!(server.eval(&exists), "true");
    drop(vhost);
    assert!(eventually(PATIENCE, || server.eval(&exists) == "false"));
    let lost = failure(&mut client, "connection.drain_events(timeout=20)");
    assert!(!lost.contains("TimeoutError"), "the connection is ended, not silent: {lost}");
}

#[test]
fn connections_of_a_virtual_host_are_closed_as_an_operator_does() {
    let vhost = RabbitServer::shared().vhost();
    let other = RabbitServer::shared().vhost();
    let (mut closed, mut kept) = (client(&vhost.url()), client(&other.url()));
    assert!(eventually(PATIENCE, || vhost.connections() + other.connections() == 2));
    vhost.close_connections("for a test");
    let said = failure(&mut closed, "connection.drain_events(timeout=20)");
    assert!(said.contains("320") && said.contains("for a test"), "{said}");
    do_now(&mut kept, "channel.queue_declare('q')");
    assert!(eventually(PATIENCE, || vhost.connections() == 0));
    assert_eq!(other.connections(), 1);
}

#[test]
fn users_may_do_what_they_are_given() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    server.add_user("reader", "se:cret");
    assert!(refusal(&vhost.url_for("reader", "wrong", server.addr())).contains("ACCESS_REFUSED"));
    assert!(refusal(&vhost.url_for("reader", "se%3Acret", server.addr())).contains("access to vhost"));
    server.set_permissions("reader", vhost.name(), "", "", "q.*");
    let mut reader = client(&vhost.url_for("reader", "se%3Acret", server.addr()));
    let said = failure(&mut reader, "channel.queue_declare('q')");
    assert!(said.contains("403"), "{said}");
}

#[test]
fn an_expression_tells_its_value_or_what_is_wrong_with_it() {
    let server = RabbitServer::shared();
    assert_eq!(server.eval("{a, [1, 2.5], <<\"x\">>}"), "{a,[1,2.5],<<\"x\">>}");
    assert_eq!(server.eval("{text, \"two\\nlines\"}"), "two\nlines");
    assert_eq!(server.eval("length(lists:seq(1, 100000))"), "100000");
    assert!(server.try_eval("no_such_module:call()").unwrap_err().contains("undef"));
    assert!(server.try_eval("lists:seq(1").is_err());
}

#[test]
fn durable_data_outlive_kill_and_stop() {
    let mut server = RabbitServer::start();
    let (port, pid) = (server.port(), server.pid());
    let mut first = client(&server.url());
    do_now(&mut first, "channel.queue_declare('kept', durable=True, auto_delete=False)");
    do_now(&mut first, "channel.basic_publish_confirm(amqp.Message(b'one', delivery_mode=2), routing_key='kept')");
    server.kill();
    assert_eq!(server.pid(), None);
    assert!(!speaks_amqp(server.addr()), "nobody listens in between");
    assert!(server.try_eval("node()").is_err());
    server.restart();
    assert_eq!(server.port(), port);
    assert_ne!(server.pid(), pid);
    let mut second = client(&server.url());
    assert_eq!(do_now(&mut second, "result = channel.basic_get('kept', no_ack=True).body"), json!("one"));

    server.stop_app();
    assert!(!speaks_amqp(server.addr()), "the ports are closed while the application is stopped");
    let lost = failure(&mut second, "connection.drain_events(timeout=20)");
    assert!(!lost.contains("TimeoutError"), "the connection is ended, not silent: {lost}");
    server.start_app();
    let mut third = client(&server.url());
    assert_eq!(do_now(&mut third, "result = channel.queue_declare('kept', passive=True).message_count"), json!(0));

    server.pause();
    let mut silent = TcpStream::connect(server.addr()).unwrap();
    silent.write_all(b"AMQP\x00\x00\x09\x01").unwrap();
    server.resume();
    silent.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(silent.read(&mut [0; 8]).unwrap(), 8, "a paused node goes on where it was");
}

#[test]
fn blocked_publishers_are_told() {
    let server = RabbitServer::start();
    let mut client = client(&server.url());
    do_now(&mut client, "channel.queue_declare('q')");
    server.block_publishers();
    do_now(&mut client, "publish('q', b'x')");
    do_now(&mut client, "wait_until(lambda: blocked == [True])");
    server.unblock_publishers();
    do_now(&mut client, "wait_until(lambda: blocked == [True, False])");
    assert!(eventually(PATIENCE, || server
        .eval("[element(2, rabbit_amqqueue:stat(Q)) || Q <- rabbit_amqqueue:list()]")
        == "[1]"));
    assert_eq!((server.connections(), server.channels()), (1, 1));
    server.close_all_connections("enough \"quoted\"");
    assert!(failure(&mut client, "connection.drain_events(timeout=20)").contains("enough"));
}

#[test]
fn nodes_run_side_by_side_and_are_gone_when_dropped() {
    let starts: Vec<_> = (0..3).map(|_| thread::spawn(RabbitServer::start)).collect();
    let servers: Vec<RabbitServer> = starts.into_iter().map(|start| start.join().unwrap()).collect();
    for (index, server) in servers.iter().enumerate() {
        server.eval(&format!("persistent_term:put(index, {index})"));
    }
    for (index, server) in servers.iter().enumerate() {
        assert_eq!(server.eval("persistent_term:get(index)"), index.to_string());
        assert!(speaks_amqp(server.addr()));
    }
    let kept: Vec<_> = servers.iter().map(|server| (server.addr(), server.folder().to_owned())).collect();
    drop(servers);
    for (addr, folder) in kept {
        assert!(!speaks_amqp(addr));
        assert!(eventually(PATIENCE, || !folder.exists()), "{} is left behind", folder.display());
    }
}

#[test]
fn a_missing_program_is_an_error_that_says_how_to_install_it() {
    let error = RabbitServer::options().binary("kombu-no-rabbitmq").try_start().unwrap_err().to_string();
    assert!(error.contains("`kombu-no-rabbitmq` is not installed"), "{error}");
    assert!(error.contains("apt-get install rabbitmq-server"), "{error}");
}

#[test]
fn a_node_that_ends_at_once_shows_its_log() {
    let error = RabbitServer::options().config("{tcp_listeners, nonsense}").try_start().unwrap_err().to_string();
    assert!(error.contains("ended at once") && error.contains("nonsense"), "{error}");
}

#[test]
fn a_killed_test_takes_its_node_and_folder_with_it() {
    let mut test = ChildProcess::this_test("victim").spawn();
    let said = test.recv_json(PATIENCE * 6);
    let addr = said["addr"].as_str().unwrap().parse().unwrap();
    let folder = std::path::PathBuf::from(said["folder"].as_str().unwrap());
    assert!(speaks_amqp(addr) && folder.exists());
    test.kill();
    assert!(eventually(PATIENCE, || !speaks_amqp(addr)), "the node outlived its test");
    assert!(eventually(PATIENCE, || !folder.exists()), "{} outlived its test", folder.display());
}

#[test]
#[ignore = "run by a_killed_test_takes_its_node_and_folder_with_it"]
fn victim() {
    let server = RabbitServer::shared();
    println!("{}", json!({"addr": server.addr().to_string(), "folder": server.folder()}));
    thread::sleep(std::time::Duration::from_secs(600));
}

fn speaks_amqp(addr: SocketAddr) -> bool {
    let answer = TcpStream::connect(addr).and_then(|mut socket| {
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.write_all(b"AMQP\x00\x00\x09\x01")?;
        let mut answer = [0; 1];
        socket.read_exact(&mut answer)?;
        Ok(answer)
    });
    // A method frame: connection.start.
    answer.is_ok_and(|answer| answer == [1])
}

fn client(url: &str) -> PythonProcess {
    let mut client = PythonKombu::shared().spawn(CLIENT, &[url]);
    let said = client.recv(PATIENCE);
    assert_eq!(said, json!({"connected": true}));
    client
}

fn refusal(url: &str) -> String {
    let said = PythonKombu::shared().spawn(CLIENT, &[url]).recv(PATIENCE);
    said["error"].as_str().unwrap_or_else(|| panic!("the client is not refused: {said}")).to_owned()
}

fn do_now(client: &mut PythonProcess, code: &str) -> Value {
    let said = client.ask(&json!({"run": code}), PATIENCE);
    assert!(said.get("error").is_none(), "{code}: {said}");
    said["result"].clone()
}

fn failure(client: &mut PythonProcess, code: &str) -> String {
    let said = client.ask(&json!({"run": code}), PATIENCE * 2);
    said["error"].as_str().unwrap_or_else(|| panic!("{code} did not fail: {said}")).to_owned()
}

const CLIENT: &str = r#"
import json, sys, time
import amqp
from kombu.utils.url import parse_url

blocked = []
result = None

def publish(queue, body, **properties):
    channel.basic_publish(amqp.Message(body, **properties), routing_key=queue)

def wait_until(condition):
    deadline = time.monotonic() + 15
    while not condition():
        assert time.monotonic() < deadline, f'nothing happened but {blocked}'
        try:
            connection.drain_events(timeout=0.2)
        except TimeoutError:
            pass

def say(value):
    print(json.dumps(value), flush=True)

try:
    url = parse_url(sys.argv[1])
    connection = amqp.Connection(
        host=f"{url['hostname']}:{url['port']}", userid=url['userid'], password=url['password'],
        virtual_host=url['virtual_host'],
        on_blocked=lambda reason: blocked.append(True), on_unblocked=lambda: blocked.append(False),
    )
    connection.connect()
    channel = connection.channel()
    say({'connected': True})
except Exception as error:
    say({'error': f'{type(error).__name__}: {error}'})
    sys.exit(0)

for line in sys.stdin:
    try:
        result = None
        exec(json.loads(line)['run'], globals())
        say({'result': result.decode() if isinstance(result, bytes) else result})
    except Exception as error:
        say({'error': f'{type(error).__name__}: {error}'})
"#;
