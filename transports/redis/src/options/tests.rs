//! What the options mean, and what is refused.

use std::sync::Arc;

use kombu_core::{ErrorKind, FieldTable, SystemClock, Value};

use super::*;

fn read(url: &str, table: FieldTable) -> Result<RedisOptions> {
    let url: kombu_core::BrokerUrl = url.parse()?;
    let mut options: FieldTable = url.query().iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    options.extend(table);
    RedisOptions::new(&TransportConfig { url, alternates: Vec::new(), options, clock: Arc::new(SystemClock) })
}

fn read_one(name: &str, value: impl Into<Value>) -> Result<RedisOptions> {
    read("redis://", FieldTable::from([(name, value.into())]))
}

#[test]
fn values_come_as_numbers_or_text() {
    for value in [Value::from(2.5), Value::from("2.5")] {
        assert_eq!(read_one("visibility_timeout", value).unwrap().visibility_timeout, Duration::from_millis(2500));
    }
    for value in [Value::from([0, 5]), Value::from("0,5"), Value::from("[0, 5]")] {
        assert_eq!(read_one("priority_steps", value).unwrap().priority_steps, [0, 5]);
    }
    let options = read("redis://?client_name=me&fanout_patterns=false&socket_timeout=3&lease=1", FieldTable::new());
    let options = options.unwrap();
    assert_eq!(options.client_name.as_deref(), Some("me"));
    assert!(!options.fanout_patterns);
    assert_eq!((options.socket_timeout, options.lease), (Some(Duration::from_secs(3)), Duration::from_secs(1)));
}

#[test]
fn kombus_odd_values_mean_what_they_do_there() {
    assert_eq!(read_one("unacked_restore_interval", -1).unwrap().unacked_restore_interval, Duration::from_secs(10));
    assert_eq!(read_one("unacked_restore_throttle", 0).unwrap().unacked_restore_throttle, 1);
    assert_eq!(read_one("health_check_interval", 0).unwrap().health_check_interval, None);
    assert_eq!(read_one("socket_timeout", Value::Null).unwrap().socket_timeout, None);
    assert_eq!(read_one("fanout_prefix", false).unwrap().fanout_prefix, FanoutPrefix::Empty);
    assert_eq!(read_one("fanout_prefix", "true").unwrap().fanout_prefix, FanoutPrefix::Database);
    assert_eq!(read_one("fanout_prefix", "/mine.").unwrap().fanout_prefix, FanoutPrefix::Text("/mine.".into()));
    assert!(read_one("ack_emulation", true).is_ok());
}

#[test]
fn what_cannot_be_used_is_named() {
    for (name, value, words) in [
        ("sep", Value::from(""), "`sep`"),
        ("sep", Value::from(5), "int"),
        ("priority_steps", Value::from([3, 0]), "ascending"),
        ("priority_steps", Value::from(Vec::<Value>::new()), "empty"),
        ("priority_steps", Value::from([0, 10]), "0 to 9"),
        ("visibility_timeout", Value::from(-1), "negative"),
        ("visibility_timeout", Value::from("soon"), "seconds"),
        ("fanout_prefix", Value::from("mine"), "starts with `/`"),
        ("fanout_prefix", Value::from("/a.b."), "only `.`"),
        ("queue_order_strategy", Value::from("random"), "round_robin, priority, sorted"),
        ("max_nesting", Value::from(5000), "512"),
        ("unacked_restore_limit", Value::from(-3), "unacked_restore_limit"),
    ] {
        let error = read_one(name, value).unwrap_err();
        assert_eq!((error.kind(), error.context("option")), (ErrorKind::InvalidArgument, Some(name)));
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn unknown_names_are_refused_with_the_nearest() {
    let error = read_one("visibilty_timeout", 5).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.to_string().contains("did you mean `visibility_timeout`?"), "{error}");
    let error = read_one("qwertyuiop", 5).unwrap_err();
    assert!(error.to_string().contains("known: sep, "), "{error}");
    assert!(read("redis://h?db=1", FieldTable::new()).is_err());
}

#[test]
fn what_is_known_and_not_done_is_unsupported() {
    for (name, value) in [
        ("ack_emulation", Value::from(false)),
        ("retry_on_error", Value::from(true)),
        ("max_retries", Value::from(5)),
        ("sentinel_fanout_compat", Value::from(true)),
        ("credential_provider", Value::from("p")),
        ("ssl_ciphers", Value::from("all")),
        ("ssl_password", Value::from("secret")),
    ] {
        let error = read("rediss://", FieldTable::from([(name, value)])).unwrap_err();
        assert_eq!((error.kind(), error.context("option")), (ErrorKind::Unsupported, Some(name)), "{error}");
        assert!(error.to_string().contains(name) && !error.to_string().contains("secret"), "{error}");
    }
}

#[test]
fn urls_say_where() {
    let tcp = |host: &str, port| Address::Tcp { host: host.into(), port };
    for (url, address, db) in [
        ("redis://", tcp("127.0.0.1", 6379), 0),
        ("redis://h/", tcp("h", 6379), 0),
        ("redis://h//", tcp("h", 6379), 0),
        ("redis://h:7000/3", tcp("h", 7000), 3),
        ("redis://h//3", tcp("h", 6379), 3),
        ("redis://[::1]:1/2", tcp("::1", 1), 2),
        ("redis+socket:///run/r.sock", Address::Unix("/run/r.sock".into()), 0),
        ("redis+socket:///run/r.sock?virtual_host=2", Address::Unix("/run/r.sock".into()), 2),
        ("valkey://h/4", tcp("h", 6379), 4),
        ("redis://h?virtual_host=5", tcp("h", 6379), 5),
        ("unix:///run/r.sock?virtual_host=6", Address::Unix("/run/r.sock".into()), 6),
        ("redis+socket:///run/r.sock?virtual_host=/2", Address::Unix("/run/r.sock".into()), 2),
    ] {
        let options = read(url, FieldTable::new()).unwrap();
        assert_eq!((options.address, options.db), (address, db), "{url}");
    }
    let options = read("redis://me:s%40crt@h", FieldTable::new()).unwrap();
    assert_eq!(options.username.as_deref(), Some("me"));
    assert_eq!(options.password.as_ref().map(Password::reveal), Some("s@crt"));
    assert!(!format!("{options:?}").contains("s@crt"));
}

#[test]
fn urls_that_lead_nowhere_are_refused() {
    for (url, kind, words) in [
        ("redis://h/abc", ErrorKind::InvalidArgument, "`abc`"),
        ("redis://h/-1", ErrorKind::InvalidArgument, "`-1`"),
        ("redis+socket://", ErrorKind::InvalidArgument, "redis+socket:///"),
        ("redis+socket://h/x", ErrorKind::InvalidArgument, "redis+socket:///"),
        ("unix://", ErrorKind::InvalidArgument, "unix:///"),
        ("sentinel://h", ErrorKind::InvalidArgument, "master_name"),
        ("redis://h?master_name=m", ErrorKind::InvalidArgument, "sentinel://"),
        ("redis+socket:///r.sock?ssl=true", ErrorKind::InvalidArgument, "Unix socket"),
        ("redis://h?ssl_ca_certs=/ca.pem", ErrorKind::InvalidArgument, "rediss://"),
        ("rediss://h?ssl=false", ErrorKind::InvalidArgument, "`ssl`"),
        ("rediss://h?ssl_ca_cert=/ca.pem", ErrorKind::InvalidArgument, "did you mean `ssl_ca_certs`?"),
        ("rediss://h?ssl_cert_reqs=maybe", ErrorKind::InvalidArgument, "`maybe`"),
        ("rediss://h?ssl_cert_reqs=none&ssl_check_hostname=true", ErrorKind::InvalidArgument, "no certificate"),
        ("rediss://h?ssl_keyfile=/k.pem", ErrorKind::InvalidArgument, "ssl_certfile"),
        ("redis://h?max_connections=2", ErrorKind::InvalidArgument, "sockets"),
    ] {
        let error = read(url, FieldTable::new()).unwrap_err();
        assert_eq!(error.kind(), kind, "{url}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

#[test]
fn tls_is_asked_for_by_the_scheme_or_the_option_and_verifies_everything() {
    assert_eq!(read("redis://h", FieldTable::new()).unwrap().tls, None);
    for url in ["rediss://h", "valkeys://h", "redis://h?ssl=true", "redis://h?ssl=1"] {
        assert_eq!(read(url, FieldTable::new()).unwrap().tls, Some(TlsOptions::default()), "{url}");
    }
    let url =
        "rediss://h?ssl_cert_reqs=CERT_NONE&ssl_ca_certs=/ca&ssl_certfile=/c&ssl_keyfile=/k&ssl_min_version=TLSv1_3";
    let tls = read(url, FieldTable::new()).unwrap().tls.unwrap();
    assert_eq!((tls.verify, tls.only_tls13), (Verify::Nothing, true));
    assert_eq!(tls.ca_certs.as_deref(), Some(std::path::Path::new("/ca")));
    let inner = FieldTable::from([("ssl_cert_reqs", Value::from(2)), ("ssl_check_hostname", Value::from(false))]);
    let table = FieldTable::from([("ssl", Value::Map(inner))]);
    assert_eq!(read("redis://h", table).unwrap().tls.unwrap().verify, Verify::Certificate);
    let table = FieldTable::from([("ssl", Value::Map(FieldTable::from([("ssl_certs", Value::Null)])))]);
    let error = read("redis://h", table).unwrap_err();
    assert!(error.to_string().contains("`ssl.ssl_certs`"), "{error}");
}

#[test]
fn a_build_without_tls_says_so() {
    let error = address::without_tls(&"rediss://:hush@h".parse().unwrap());
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("feature `redis-tls`"), "{error}");
    assert!(!format!("{error} {error:?}").contains("hush"), "{error}");
}

#[test]
fn sentinels_are_the_hosts_of_all_urls() {
    let urls = kombu_core::BrokerUrl::parse_list("sentinel://a;sentinel://:pw@b:7000/3?master_name=m").unwrap();
    let kwargs = FieldTable::from([("password", Value::from("other")), ("socket_timeout", Value::from(0.5))]);
    let table = FieldTable::from([("sentinel_kwargs", Value::Map(kwargs)), ("min_other_sentinels", Value::from(2))]);
    let config = TransportConfig {
        url: urls[0].clone(),
        alternates: urls[1..].to_vec(),
        options: table,
        clock: Arc::new(SystemClock),
    };
    let options = RedisOptions::new(&config).unwrap();
    assert_eq!((options.db, options.password.as_ref().map(Password::reveal)), (3, Some("pw")));
    let Address::Sentinel(sentinel) = options.address else { panic!("{:?}", options.address) };
    assert_eq!(sentinel.hosts, [("a".to_owned(), 26379), ("b".to_owned(), 7000)]);
    assert_eq!((sentinel.master_name.as_str(), sentinel.min_other_sentinels), ("m", 2));
    assert_eq!(sentinel.password.as_ref().map(Password::reveal), Some("other"));
    assert_eq!(sentinel.timeout, Some(Duration::from_millis(500)));
    let kwargs = FieldTable::from([("pasword", Value::from("hush"))]);
    let table = FieldTable::from([("sentinel_kwargs", Value::Map(kwargs)), ("master_name", Value::from("m"))]);
    let error = read("sentinel://h", table).unwrap_err();
    assert!(error.to_string().contains("did you mean `password`?"), "{error}");
    assert!(!error.to_string().contains("hush"), "{error}");
}

#[test]
fn keepalive_is_tuned_by_pythons_names() {
    let inner = FieldTable::from([("TCP_KEEPIDLE", 30), ("5", 10), ("TCP_KEEPCNT", 3)]);
    let keepalive = read_one("socket_keepalive_options", Value::Map(inner)).unwrap().keepalive;
    let seconds = Duration::from_secs;
    let expected = Keepalive { is_on: false, idle: Some(seconds(30)), interval: Some(seconds(10)), retries: Some(3) };
    assert_eq!(keepalive, expected);
    let inner = FieldTable::from([("TCP_KEEPALIVE", 30)]);
    let error = read_one("socket_keepalive_options", Value::Map(inner)).unwrap_err();
    assert!(error.to_string().contains("`TCP_KEEPALIVE`"), "{error}");
}

/// Every option of Kombu's Redis transport: its name, what its default is here, another value, and what comes of that.
#[test]
fn kombus_options_have_kombus_names_and_defaults() {
    let text = |options: &RedisOptions, name: &str| -> String {
        let table = options;
        match name {
            "sep" => format!("{:?}", table.sep),
            "unacked_key" => format!("{:?}", table.unacked_key),
            "unacked_index_key" => format!("{:?}", table.unacked_index_key),
            "unacked_mutex_key" => format!("{:?}", table.unacked_mutex_key),
            "unacked_mutex_expire" => format!("{:?}", table.unacked_mutex_expire),
            "visibility_timeout" => format!("{:?}", table.visibility_timeout),
            "unacked_restore_limit" => format!("{:?}", table.unacked_restore_limit),
            "unacked_restore_interval" => format!("{:?}", table.unacked_restore_interval),
            "unacked_restore_throttle" => format!("{:?}", table.unacked_restore_throttle),
            "fanout_prefix" => format!("{:?}", table.fanout_prefix),
            "fanout_patterns" => format!("{:?}", table.fanout_patterns),
            "global_keyprefix" => format!("{:?}", table.global_keyprefix),
            "socket_timeout" => format!("{:?}", table.socket_timeout),
            "socket_connect_timeout" => format!("{:?}", table.socket_connect_timeout),
            "socket_keepalive" => format!("{:?}", table.keepalive.is_on),
            "queue_order_strategy" => format!("{:?}", table.queue_order_strategy),
            "health_check_interval" => format!("{:?}", table.health_check_interval),
            "priority_steps" => format!("{:?}", table.priority_steps),
            "client_name" => format!("{:?}", table.client_name),
            "polling_interval" => format!("{:?}", table.polling_interval),
            "body_encoding" => format!("{:?}", table.body_encoding),
            "deadletter_queue" => format!("{:?}", table.deadletter_queue),
            other => panic!("{other} is looked at nowhere"),
        }
    };
    for (name, default, value, then) in [
        ("sep", r#""\u{6}\u{16}""#, Value::from("|"), r#""|""#),
        ("unacked_key", r#""unacked""#, Value::from("u"), r#""u""#),
        ("unacked_index_key", r#""unacked_index""#, Value::from("i"), r#""i""#),
        ("unacked_mutex_key", r#""unacked_mutex""#, Value::from("m"), r#""m""#),
        ("unacked_mutex_expire", "300s", Value::from(10), "10s"),
        ("visibility_timeout", "3600s", Value::from(60), "60s"),
        ("unacked_restore_limit", "None", Value::from(7), "Some(7)"),
        ("unacked_restore_interval", "10s", Value::from(1.5), "1.5s"),
        ("unacked_restore_throttle", "10", Value::from(3), "3"),
        ("fanout_prefix", "Database", Value::from("/{db}.mine"), ""),
        ("fanout_prefix", "Database", Value::from("/mine."), r#"Text("/mine.")"#),
        ("fanout_patterns", "true", Value::from(false), "false"),
        ("global_keyprefix", r#""""#, Value::from("p:"), r#""p:""#),
        ("socket_timeout", "None", Value::from(3), "Some(3s)"),
        ("socket_connect_timeout", "None", Value::from(4), "Some(4s)"),
        ("socket_keepalive", "false", Value::from(true), "true"),
        ("queue_order_strategy", "RoundRobin", Value::from("sorted"), "Sorted"),
        ("health_check_interval", "Some(25s)", Value::from(5), "Some(5s)"),
        ("priority_steps", "[0, 3, 6, 9]", Value::from([0, 5]), "[0, 5]"),
        ("client_name", "None", Value::from("me"), r#"Some("me")"#),
        ("polling_interval", "None", Value::from(0.5), "Some(500ms)"),
        ("body_encoding", "Base64", Value::from("utf-8"), "Utf8"),
        ("deadletter_queue", "None", Value::from("dead"), r#"Some("dead")"#),
    ] {
        assert_eq!(text(&RedisOptions::default(), name), default, "{name}");
        match read_one(name, value) {
            Ok(options) => assert_eq!(text(&options, name), then, "{name}"),
            Err(error) => assert!(then.is_empty(), "{error}"),
        }
    }
    // What needs nothing to be done here: the value that asks for Kombu's default, and one more where there is one.
    for (name, values) in [
        ("ack_emulation", vec![Value::from(true)]),
        ("max_connections", vec![Value::from(10), Value::from(50)]),
        ("reauth_check_interval", vec![Value::from(10)]),
        ("retry_on_timeout", vec![Value::from(true), Value::from(false)]),
        ("sentinel_fanout_compat", vec![Value::from(false)]),
        ("socket_keepalive_options", vec![Value::Map(FieldTable::new())]),
        ("retry", vec![Value::Null]),
        ("retry_on_error", vec![Value::Null]),
    ] {
        for value in values {
            assert!(read_one(name, value.clone()).is_ok(), "{name}={value:?}");
        }
    }
}

#[test]
fn a_name_with_a_letter_too_few_is_an_error_that_names_the_right_one() {
    for name in names::NAMES {
        let last = name.len() - 1;
        for wrong in [name[..last].to_owned(), format!("{}{}", &name[..last - 1], &name[last..]), format!("{name}s")] {
            if names::NAMES.contains(&wrong.as_str()) || names::UNSUPPORTED.iter().any(|(name, ..)| *name == wrong) {
                continue;
            }
            let error = read_one(&wrong, 1).unwrap_err();
            assert_eq!((error.kind(), error.context("option")), (ErrorKind::InvalidArgument, Some(wrong.as_str())));
            assert!(error.to_string().contains(&format!("did you mean `{name}`?")), "{wrong}: {error}");
        }
    }
}
