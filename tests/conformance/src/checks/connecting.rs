//! Connections that cannot be made, that are lost, and that come back.

use std::net::TcpListener;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use kombu_core::{BrokerUrl, Connection, ConnectionEvent, ErrorKind, Exchange, Message, Queue, RetryPolicy};

use crate::bench::Bench;
use crate::check::{Check, Group};
use crate::failure::{During, Failure, Verdict, ensure, refused, same};
use crate::lane::numbered;
use crate::need::Hook;
use crate::need::Need::{Can, Hook as Needs};
use crate::user::{Log, User, text};

pub(super) const CHECKS: &[Check] = &[
    Check::new(Group::Lifecycle, "connect_errors_are_clean", connect_errors_are_clean)
        .promise("a broker that is not there is an error of kind ConnectionLost that names it, soon")
        .steps("connect to a port nobody listens on")
        .reference("connection refused")
        .spec("`Transport::connect`")
        .needs(&[Can("multi_process")]),
    Check::new(Group::Lifecycle, "wrong_password_is_refused", wrong_password_is_refused)
        .promise("a wrong password is an error of kind AccessRefused, at once, that shows no password")
        .steps("connect with another password than the broker's")
        .reference("403 ACCESS_REFUSED")
        .spec("`Transport::connect`")
        .needs(&[Needs(Hook::Password)]),
    Check::new(Group::Lifecycle, "passwords_never_show", passwords_never_show)
        .promise("the password of a URL is in no description, event or error")
        .steps("a connection with a password: its text, its URL, its events, the errors of its operations")
        .reference("two asterisks")
        .spec("`Error`: passwords never appear"),
    Check::new(Group::Lifecycle, "lasting_error_backs_off", lasting_error_backs_off)
        .promise("a broker that stays away is tried again after waits that grow, not in a tight loop")
        .steps(
            "connect for a second to a port nobody listens on, by a policy of 10, 30, 50, 50, … ms; count the attempts",
        )
        .reference("Kombu's interval_start, interval_step, interval_max")
        .spec("`RetryPolicy`")
        .needs(&[Can("multi_process")]),
    Check::new(Group::Lifecycle, "failover_to_second_url", failover_to_second_url)
        .promise("the next URL of a list is used when the first does not answer")
        .steps("a list of a port nobody listens on and the broker: publish, look")
        .reference("Kombu's failover")
        .spec("`Connection::new`")
        .needs(&[Can("multi_process")]),
    Check::new(Group::Lifecycle, "link_cut_resumes_consumption", link_cut_resumes_consumption)
        .promise("a link that is cut in the middle of consuming loses nothing, and every double is flagged")
        .steps("1 000 messages; cut every link while 300 are answered and 20 held; answer those; it goes on by itself")
        .reference("unacknowledged messages are redelivered")
        .spec("`ARCHITECTURE.md`, Recovery")
        .needs(&[Can("recovery"), Needs(Hook::Cut)]),
    Check::new(Group::Lifecycle, "link_cut_resumes_publishing", link_cut_resumes_publishing)
        .promise("publishes around a cut are confirmed, or say truly what became of them")
        .steps("publish 500, cutting the links in between; each confirmed one is there, each NotSent one is not")
        .reference("unconfirmed ones are unknown")
        .spec("`Outcome`")
        .needs(&[Can("recovery"), Needs(Hook::Cut)]),
    Check::new(Group::Lifecycle, "broker_restart_keeps_persistent", broker_restart_keeps_persistent)
        .promise("persistent messages in durable queues survive a restart, consumers resume, what was bound is bound again")
        .steps("publish 20, handle 5, bind two transient exchanges; stop the broker, start it; get the rest, publish through both")
        .reference("all of them; the exchanges are gone until they are declared again")
        .spec("AMQP 0-9-1 delivery-mode 2")
        .needs(&[Can("persistent"), Can("durable"), Can("recovery"), Needs(Hook::Restart)]),
    Check::new(Group::Lifecycle, "blocked_publish_says_so", blocked_publish_says_so)
        .promise(
            "a broker that takes no publishes for want of resources loses none: they wait, or are refused as not sent",
        )
        .steps("block the broker, publish with a short deadline; unblock it, publish; what was confirmed is there")
        .reference("connection.blocked")
        .spec("`ConnectionEvent::Blocked`, `Outcome::NotSent`")
        .needs(&[Needs(Hook::Block)]),
];

/// A port of this machine on which nobody listens.
fn closed_port() -> Verdict<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| Failure::new(format!("no port: {error}")))?;
    let address = listener.local_addr().map_err(|error| Failure::new(format!("no port: {error}")))?;
    Ok(address.port())
}

/// The check's URL with another authority.
fn url_at(bench: &Bench, authority: &str) -> Verdict<String> {
    let url: BrokerUrl = bench.url.parse()?;
    let query: Vec<_> = url.query().iter().map(|(name, value)| format!("{name}={value}")).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    Ok(format!("{}://{authority}/{}{query}", url.scheme(), url.path()))
}

fn connect_errors_are_clean(bench: &Bench) -> Verdict {
    let port = closed_port()?;
    let transport = bench.connect_to(&url_at(bench, &format!("127.0.0.1:{port}"))?).map(|_| "a connection");
    refused("connect to a closed port", transport, &[ErrorKind::ConnectionLost])?;
    let url = url_at(bench, &format!("127.0.0.1:{port}"))?;
    let user = bench.user_with(&url, |builder| builder.connect_timeout(Duration::from_millis(200)))?;
    let kinds = [ErrorKind::ConnectionLost, ErrorKind::Timeout];
    let error = refused("connect", user.answer(user.connection.connect()), &kinds)?;
    ensure(error.to_string().contains(&port.to_string()), format!("the error does not name the broker: {error}"))
}

fn wrong_password_is_refused(bench: &Bench) -> Verdict {
    let right =
        bench.with_broker(|broker| broker.password())?.ok_or_else(|| Failure::new("the broker has no password"))?;
    let wrong = bench.url.replacen(&right, "hushhush", 1);
    ensure(wrong != bench.url, "the broker's URL does not contain its password")?;
    let refused_by = bench.connect_to(&wrong).map(|_| "a connection");
    let error = refused("connect with a wrong password", refused_by, &[ErrorKind::AccessRefused])?;
    let text = format!("{error} {error:?}");
    ensure(!text.contains("hushhush"), "the error shows the password")?;
    bench.connect_to(&bench.url).map(drop).during("connect with the right password")
}

fn passwords_never_show(bench: &Bench) -> Verdict {
    let url: BrokerUrl = bench.url.parse()?;
    let is_network = bench.can("multi_process")?;
    let host = url.host().unwrap_or("nowhere").to_owned();
    let at = if is_network { format!("127.0.0.1:{}", closed_port()?) } else { host };
    let secret = url_at(bench, &format!("me:hush%2Fhush@{at}"))?;
    let user = bench.user_with(&secret, |builder| builder.connect_timeout(Duration::from_millis(100)))?;
    let mut texts = vec![format!("{:?} {} {:?}", user.connection, user.connection.url(), user.connection.url())];
    if let Err(failure) = user.answer(user.connection.connect()) {
        texts.push(failure.to_string());
    }
    if let Err(failure) = user.answer(user.connection.producer().publish("x").routing_key("nobody").send()) {
        texts.push(failure.to_string());
    }
    texts.extend(user.events());
    texts.push(format!("{:?}", bench.ground.make(&secret, Arc::clone(&bench.clock)).err()));
    let broken = Connection::builder(&secret).transport_option("no_such_option", "hush/hush").build();
    texts.push(format!("{:?}", broken.err()));
    for text in texts {
        ensure(!text.contains("hush"), format!("a password shows: {}", text.replace("hush", "····")))?;
    }
    drop(user.connection.close());
    Ok(())
}

fn lasting_error_backs_off(bench: &Bench) -> Verdict {
    let policy = RetryPolicy {
        start: Duration::from_millis(10),
        step: Duration::from_millis(20),
        max: Duration::from_millis(50),
    };
    let url = url_at(bench, &format!("127.0.0.1:{}", closed_port()?))?;
    let user = bench.user_with(&url, |builder| builder.retry_policy(policy).connect_timeout(Duration::from_secs(1)))?;
    let waits = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&waits);
    user.connection.on_event(move |event| {
        if let ConnectionEvent::ConnectFailed { retry_in, .. } = event {
            heard.lock().unwrap_or_else(PoisonError::into_inner).push(*retry_in);
        }
    });
    // The last attempt may be cut off by the end of the time.
    let kinds = [ErrorKind::ConnectionLost, ErrorKind::Timeout];
    refused("connect", user.answer(user.connection.connect()), &kinds)?;
    let waits = waits.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let want: Vec<_> =
        (0..waits.len()).map(|attempt| Some(policy.delay(u32::try_from(attempt).unwrap_or(0)))).collect();
    ensure(!waits.is_empty(), "no attempt was told of")?;
    same("waits between attempts", &waits, &want)?;
    // A second of waits of 10, 30, 50, 50, … ms.
    ensure(waits.len() <= 23, format!("{} attempts within a second", waits.len()))
}

fn failover_to_second_url(bench: &Bench) -> Verdict {
    let lane = bench.channel()?;
    let name = lane.queue("q")?;
    let list = format!("{};{}", url_at(bench, &format!("127.0.0.1:{}", closed_port()?))?, bench.url);
    let user = bench.user_with(&list, |builder| builder)?;
    user.answer(user.connection.producer().publish("hello").routing_key(&name).send())?;
    same("messages", lane.bodies(&name)?, ["hello"])?;
    user.answer(user.connection.close())
}

fn link_cut_resumes_consumption(bench: &Bench) -> Verdict {
    let user = bench.user()?;
    let (name, count) = (bench.queue_name("q"), bench.many(1000));
    let queue = Queue::new(&name);
    user.answer(queue.declare(&user.connection))?;
    let producer = user.connection.producer();
    let pending: Vec<_> =
        numbered("", 0..count).into_iter().map(|body| producer.publish(body).routing_key(&name).send()).collect();
    for sent in pending {
        user.answer(sent)?;
    }
    let (seen, doubles, held) = (Log::default(), Log::default(), Held::default());
    let (log, flagged, window) = (seen.clone(), doubles.clone(), held.clone());
    let first = count * 3 / 10;
    let handler = move |message: Message| {
        let body = text(&message);
        if message.maybe_duplicate() {
            flagged.add(body.clone());
        }
        log.add(body);
        if log.len() <= first {
            drop(message.ack());
        } else {
            window.take(message);
        }
    };
    let _consumer = user.answer(user.connection.consumer(queue).prefetch(20).on_message(handler).consume())?;
    bench.wait_until("a part of the messages, and a window that is held", || seen.len() >= first + 20)?;
    bench.with_broker(|broker| broker.cut())?;
    // Where deliveries do not outlive the link this fails, and the message must come again.
    let mut unanswered = Vec::new();
    for message in held.release() {
        let body = text(&message);
        if bench.settle("the answer to an acknowledgement after the cut", message.ack())?.is_err() {
            unanswered.push(body);
        }
    }
    let times = |body: &String| seen.all().iter().filter(|one| *one == body).count();
    bench.wait_until("what could not be answered, once more", || unanswered.iter().all(|body| times(body) > 1))?;
    let distinct = || seen.all().into_iter().collect::<std::collections::BTreeSet<_>>().len();
    bench.wait_until("all messages, after the cut", || seen.len() >= count && distinct() >= count)?;
    let came = seen.all();
    let flagged = doubles.all();
    let mut known = std::collections::BTreeSet::new();
    for body in came {
        ensure(known.insert(body.clone()) || flagged.contains(&body), format!("message {body} came twice, unflagged"))?;
    }
    Ok(())
}

fn link_cut_resumes_publishing(bench: &Bench) -> Verdict {
    let user = bench.user()?;
    let name = bench.queue_name("q");
    user.answer(Queue::new(&name).declare(&user.connection))?;
    let producer = user.connection.producer();
    let (mut confirmed, mut not_sent) = (Vec::new(), Vec::new());
    for round in 0..5 {
        let bodies = numbered(&format!("{round}-"), 0..100);
        let pending: Vec<_> =
            bodies.iter().map(|body| producer.publish(body.as_str()).routing_key(&name).send()).collect();
        bench.turn()?;
        bench.with_broker(|broker| broker.cut())?;
        for (body, sent) in bodies.into_iter().zip(pending) {
            match bench.settle("the answer to a publish around a cut", sent)? {
                Ok(_) => confirmed.push(body),
                Err(error) if error.outcome() == Some(kombu_core::Outcome::NotSent) => not_sent.push(body),
                Err(error) => same("the outcome", error.outcome(), Some(kombu_core::Outcome::Unknown))?,
            }
        }
    }
    let lane = bench.channel()?;
    let came = lane.bodies(&name)?;
    for body in confirmed {
        ensure(came.contains(&body), format!("message {body} was confirmed and is gone"))?;
    }
    for body in not_sent {
        ensure(!came.contains(&body), format!("message {body} was said not to be sent, and came"))?;
    }
    Ok(())
}

fn broker_restart_keeps_persistent(bench: &Bench) -> Verdict {
    let user = bench.user()?;
    let name = bench.queue_name("q");
    let queue = Queue::new(&name);
    user.answer(queue.declare(&user.connection))?;
    for body in numbered("", 0..20) {
        user.answer(user.connection.producer().publish(body).routing_key(&name).send())?;
    }
    let source = chain(bench, &user, &queue)?;
    let (seen, held) = (Log::default(), Held::default());
    let (log, window) = (seen.clone(), held.clone());
    let handler = move |message: Message| {
        log.add(text(&message));
        if log.len() <= 5 {
            drop(message.ack());
        } else {
            window.take(message);
        }
    };
    let _consumer = user.answer(user.connection.consumer(queue).prefetch(3).on_message(handler).consume())?;
    bench.wait_until("five messages that are answered and three that are held", || seen.len() >= 8)?;
    bench.with_broker(|broker| broker.stop())?;
    bench.turn()?;
    bench.with_broker(|broker| broker.start())?;
    for message in held.release() {
        // Where deliveries do not outlive the link this fails, and the message comes again.
        drop(message.ack());
    }
    let distinct = || seen.all().into_iter().collect::<std::collections::BTreeSet<_>>().len();
    bench.wait_until_within(bench.patience() * 3, "all messages, after the restart", &mut || {
        seen.len() >= 20 && distinct() >= 20
    })?;
    let Some(source) = source else { return Ok(()) };
    user.answer(user.connection.producer().publish("routed").exchange(&source).routing_key("key").mandatory().send())
        .during("publish through exchanges that were bound before the restart")?;
    bench.wait_until("the message that went through both exchanges", || seen.all().iter().any(|body| body == "routed"))
}

/// Binds a transient exchange to another, and that one to `queue`, where the transport does such things; returns the first.
fn chain(bench: &Bench, user: &User<'_>, queue: &Queue) -> Verdict<Option<Exchange>> {
    if !bench.can("exchange_to_exchange")? || !bench.can("mandatory_returns")? {
        return Ok(None);
    }
    let exchange = |what: &str| Exchange::direct(bench.exchange_name(what)).transient();
    let (source, destination) = (exchange("source"), exchange("destination"));
    user.answer(destination.bind_to(&user.connection, &source.binding("key")))?;
    user.answer(queue.clone().bind(&destination, "key").declare(&user.connection))?;
    Ok(Some(source))
}

/// Messages a handler holds until it is told to answer them, and those that come later, at once.
#[derive(Clone, Default)]
struct Held(Arc<(AtomicBool, Mutex<Vec<Message>>)>);

impl Held {
    fn take(&self, message: Message) {
        let mut held = self.0.1.lock().unwrap_or_else(PoisonError::into_inner);
        if self.0.0.load(Ordering::Acquire) {
            drop(held);
            drop(message.ack());
        } else {
            held.push(message);
        }
    }

    /// Returns what is held; nothing is from now on.
    fn release(&self) -> Vec<Message> {
        let mut held = self.0.1.lock().unwrap_or_else(PoisonError::into_inner);
        self.0.0.store(true, Ordering::Release);
        std::mem::take(&mut *held)
    }
}

fn blocked_publish_says_so(bench: &Bench) -> Verdict {
    let user = bench.user()?;
    let (name, other) = (bench.queue_name("q"), bench.queue_name("other"));
    user.answer(Queue::new(&name).declare(&user.connection))?;
    user.answer(Queue::new(&other).declare(&user.connection))?;
    let producer = user.connection.producer();
    user.answer(producer.publish("before").routing_key(&name).send())?;
    bench.with_broker(|broker| broker.block(true))?;
    let (mut confirmed, mut not_sent, mut refusals) = (vec!["before".to_owned()], Vec::new(), 0);
    for body in numbered("blocked-", 0..5) {
        let sent = producer.publish(body.as_str()).routing_key(&name).timeout(Duration::from_millis(300)).send();
        match bench.settle("the answer to a publish while the broker is blocked", sent)? {
            Ok(_) => confirmed.push(body),
            Err(error) => {
                let kinds = [ErrorKind::Timeout, ErrorKind::Overloaded, ErrorKind::Nacked];
                ensure(kinds.contains(&error.kind()), format!("a publish while blocked failed with {error:?}"))?;
                let outcome = error.outcome();
                ensure(outcome.is_some(), format!("it does not say what became of the message: {error:?}"))?;
                if outcome == Some(kombu_core::Outcome::NotSent) {
                    not_sent.push(body);
                }
                refusals += 1;
            }
        }
    }
    ensure(refusals > 0, "every publish was confirmed although the broker is blocked")?;
    bench.with_broker(|broker| broker.block(false))?;
    bench.eventually("the broker to take publishes again", || {
        let sent = producer.publish("after").routing_key(&other).timeout(Duration::from_secs(2)).send();
        Ok(bench.settle("the answer to a publish", sent)?.is_ok())
    })?;
    let came = bench.channel()?.bodies(&name)?;
    for body in confirmed {
        ensure(came.contains(&body), format!("message {body} was confirmed and is gone: {came:?}"))?;
    }
    for body in not_sent {
        ensure(!came.contains(&body), format!("message {body} was said not to be sent, and came"))?;
    }
    Ok(())
}
