//! A real server with the scripts loaded.

use kombu_brokers::RedisServer;
use redis::{Cmd, Connection, FromRedisValue, Value};

use crate::keys::Keys;
use crate::options::RedisOptions;
use crate::scripts;

pub(super) struct Server {
    pub(super) keys: Keys,
    connection: Connection,
    _server: RedisServer,
}

impl Server {
    pub(super) fn start() -> Self {
        Self::with(|_| ())
    }

    pub(super) fn with(change: impl FnOnce(&mut RedisOptions)) -> Self {
        let mut options = RedisOptions { sep: "|".into(), ..RedisOptions::default() };
        change(&mut options);
        let server = RedisServer::start();
        let connection = redis::Client::open(server.url()).unwrap().get_connection().unwrap();
        let mut server = Server { keys: Keys::new(&options), connection, _server: server };
        for script in scripts::all() {
            let sha1: String = server.run(&script.load());
            assert_eq!(sha1, script.sha1(), "{}", script.name());
        }
        server
    }

    pub(super) fn run<T: FromRedisValue>(&mut self, command: &Cmd) -> T {
        command.query(&mut self.connection).unwrap()
    }

    pub(super) fn try_run(&mut self, command: &Cmd) -> redis::RedisResult<Value> {
        command.query(&mut self.connection)
    }

    pub(super) fn command<T: FromRedisValue>(&mut self, args: &[&str]) -> T {
        let mut command = redis::cmd(args[0]);
        command.arg(&args[1..]);
        self.run(&command)
    }

    /// Puts texts into a list the way a publisher does.
    pub(super) fn push(&mut self, list: &str, texts: &[&str]) {
        for text in texts {
            let _: i64 = self.command(&["LPUSH", list, text]);
        }
    }

    /// Returns a list, the element that is served next first.
    pub(super) fn list(&mut self, key: &str) -> Vec<String> {
        let mut elements: Vec<String> = self.command(&["LRANGE", key, "0", "-1"]);
        elements.reverse();
        elements
    }

    /// Returns the tags in `unacked`; those of the index must be the same.
    pub(super) fn tags(&mut self) -> Vec<String> {
        let mut tags: Vec<String> = self.command(&["HKEYS", "unacked"]);
        let mut index: Vec<String> = self.command(&["ZRANGE", "unacked_index", "0", "-1"]);
        tags.sort();
        index.sort();
        assert_eq!(tags, index);
        tags
    }

    /// Lets the server refuse writes that need memory.
    pub(super) fn fill_memory(&mut self) {
        let _: String = self.command(&["CONFIG", "SET", "maxmemory", "1"]);
        let refused = self.try_run(redis::cmd("LPUSH").arg("full").arg("x"));
        assert!(refused.unwrap_err().to_string().contains("OOM"));
    }

    pub(super) fn free_memory(&mut self) {
        let _: String = self.command(&["CONFIG", "SET", "maxmemory", "0"]);
    }
}
