//! An error of a channel ends that channel and nothing else.

use kombu_brokers::RabbitServer;
use kombu_core::{ErrorKind, Exchange, Queue, Scope};

use crate::common::{Diary, collect, connection, wait_for};

#[test]
fn a_refused_declaration_names_itself_and_the_next_use_works() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let connection = connection(&vhost.url());
    let diary = Diary::of(&connection);
    let queue = Queue::new("q");
    queue.declare(&connection).wait().unwrap();
    let (_consumer, bodies) = collect(&connection, &queue);

    let missing = Queue::new("missing").passive().declare(&connection).wait().unwrap_err();
    assert_eq!((missing.kind(), missing.scope()), (ErrorKind::NotFound, Scope::Channel), "{missing}");
    assert!(missing.to_string().contains("queue.declare") && missing.to_string().contains("missing"), "{missing}");

    let other = Queue::new("q").transient().declare(&connection).wait().unwrap_err();
    assert_eq!(other.kind(), ErrorKind::PreconditionFailed, "{other}");

    let reserved = Queue::new("amq.mine").declare(&connection).wait().unwrap_err();
    assert_eq!(reserved.kind(), ErrorKind::AccessRefused, "{reserved}");

    let unbound = Queue::new("q").bind(&Exchange::direct("nothing").no_declare(), "k").declare(&connection).wait();
    assert_eq!(unbound.unwrap_err().kind(), ErrorKind::NotFound);

    // Consumer, publisher and declarations go on.
    connection.producer().publish("hello").routing_key("q").wait().unwrap();
    bodies.expect(["hello".to_owned()]);
    Queue::new("another").declare(&connection).wait().unwrap();
    assert_eq!(diary.count("disconnected"), 0, "{}", diary.text());
    assert_eq!(vhost.consumers("q"), 1);
}

/// lapin never uses the number of a channel again that the broker closed, and says of it what was wrong then.
#[test]
fn channels_that_the_broker_closed_spoil_none_that_come_after() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let connection = connection(&format!("{}?channel_max=7", vhost.url()));
    let diary = Diary::of(&connection);
    let refused = |number: usize| {
        let name = format!("missing-{number}");
        let missing = Queue::new(&*name).passive().declare(&connection).wait().unwrap_err();
        assert!(missing.kind() == ErrorKind::NotFound && missing.to_string().contains(&name), "{name}: {missing}");
    };
    let queue = Queue::new("q");
    (0..3).for_each(refused);
    for number in 0..20 {
        let (consumer, bodies) = collect(&connection, &queue);
        connection.producer().publish(number.to_string()).routing_key("q").wait().unwrap();
        bodies.expect([number.to_string()]);
        consumer.cancel().wait().unwrap();
    }
    assert_eq!(diary.count("disconnected"), 0, "{}", diary.text());
    // With no number left the connection is made anew, and nobody is told of what another channel did.
    (3..30).for_each(refused);
    connection.producer().publish("last").routing_key("q").wait().unwrap();
    let (_consumer, bodies) = collect(&connection, &queue);
    bodies.expect(["last".to_owned()]);
}

#[test]
fn permissions_are_the_brokers() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    server.add_user("reader", "secret");
    server.set_permissions("reader", vhost.name(), "", "", ".*");
    let connection = connection(&vhost.url_for("reader", "secret", server.addr()));
    let refused = Queue::new("q").declare(&connection).wait().unwrap_err();
    assert_eq!((refused.kind(), refused.scope()), (ErrorKind::AccessRefused, Scope::Channel), "{refused}");
    let refused = connection.producer().publish("x").routing_key("q").wait().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::AccessRefused, "{refused}");
}

#[test]
fn who_is_not_let_in_is_told_why_without_the_password() {
    let server = RabbitServer::shared();
    let vhost = server.vhost();
    let wrong = connection(&vhost.url_for("guest", "wrong-secret", server.addr())).connect().wait().unwrap_err();
    assert_eq!((wrong.kind(), wrong.scope()), (ErrorKind::AccessRefused, Scope::Connection), "{wrong}");
    assert!(!format!("{wrong:?} {wrong}").contains("wrong-secret"), "{wrong}");
    let url = format!("amqp://guest:guest@{}/no-such-host", server.addr());
    let wrong = connection(&url).connect().wait().unwrap_err();
    assert_eq!(wrong.kind(), ErrorKind::AccessRefused, "{wrong}");
    assert!(wrong.to_string().contains("no-such-host"), "{wrong}");
}

#[test]
fn who_talks_to_something_else_is_told_so() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("amqp://{}", listener.local_addr().unwrap());
    // Hangs up on everybody until the connection that the test makes to itself.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let hanging_up = std::thread::spawn(move || {
        while let Err(std::sync::mpsc::TryRecvError::Empty) = stopped.try_recv() {
            drop(listener.accept().unwrap());
        }
    });
    let connection = connection(&url);
    let diary = Diary::of(&connection);
    let connecting = connection.connect();
    wait_for("it is told", || diary.text().contains("it may be no AMQP broker"));
    drop((connecting, stop));
    drop(std::net::TcpStream::connect(url.trim_start_matches("amqp://")).unwrap());
    hanging_up.join().unwrap();
}
