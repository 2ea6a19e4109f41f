//! A real Redis Cluster for one test.

use std::time::Duration;

use crate::patience::eventually;
use crate::redis_server::RedisServer;

/// A Redis Cluster of masters, each with as many replicas, on free loopback ports.
///
/// # Example
///
/// ```
/// use kombu_brokers::RedisCluster;
///
/// let cluster = RedisCluster::start(3, 0);
/// let owner = cluster.owner("{shop}:orders");
/// cluster.node(owner).command(&["LPUSH", "{shop}:orders", "one"]);
/// ```
#[derive(Debug)]
pub struct RedisCluster {
    nodes: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts `masters` nodes that share the slots, and `replicas` more for each of them; returns when all of them agree.
    ///
    /// # Panics
    ///
    /// When `redis-server` is not installed, or they do not agree within a minute.
    pub fn start(masters: usize, replicas: usize) -> Self {
        let count = masters * (1 + replicas);
        let nodes: Vec<RedisServer> = (0..count).map(|_| RedisServer::options().cluster_node().start()).collect();
        let cluster = RedisCluster { nodes };
        let (first, rest) = cluster.nodes.split_first().expect("a cluster has at least one master");
        for (index, node) in cluster.nodes.iter().enumerate().take(masters) {
            let (from, to) = (index * SLOTS / masters, (index + 1) * SLOTS / masters - 1);
            node.command(&["CLUSTER", "ADDSLOTSRANGE", &from.to_string(), &to.to_string()]);
            // Without different epochs two of them would argue first.
            node.command(&["CLUSTER", "SET-CONFIG-EPOCH", &(index + 1).to_string()]);
        }
        for node in rest {
            let (port, bus) = (first.port().to_string(), first.cluster_port().to_string());
            node.command(&["CLUSTER", "MEET", "127.0.0.1", &port, &bus]);
        }
        cluster.expect("know each other", |cluster| {
            cluster.nodes.iter().all(|node| cluster.known_to(node).lines().count() == count)
        });
        for (index, node) in cluster.nodes.iter().enumerate().skip(masters) {
            let master = cluster.nodes[index % masters].command(&["CLUSTER", "MYID"]).text().to_owned();
            node.command(&["CLUSTER", "REPLICATE", &master]);
        }
        cluster.expect("agree", |cluster| {
            let is_ok = |node: &RedisServer| {
                let info = node.command(&["CLUSTER", "INFO"]).text().contains("cluster_state:ok");
                let replicas = cluster.known_to(node).lines().filter(|line| line.contains("slave")).count();
                info && replicas == count - masters
            };
            let is_linked = |node: &RedisServer| {
                let info = node.command(&["INFO", "replication"]).text().to_owned();
                info.contains("role:master") || info.contains("master_link_status:up")
            };
            cluster.nodes.iter().all(|node| is_ok(node) && is_linked(node))
        });
        cluster
    }

    /// Returns the nodes: the masters as they were at the start, then their replicas in the same order, and so on.
    pub fn nodes(&self) -> &[RedisServer] {
        &self.nodes
    }

    /// Returns one of the nodes.
    ///
    /// # Panics
    ///
    /// When there is none of that number.
    pub fn node(&self, index: usize) -> &RedisServer {
        &self.nodes[index]
    }

    /// Returns one of the nodes, to be stopped or killed.
    ///
    /// # Panics
    ///
    /// When there is none of that number.
    pub fn node_mut(&mut self, index: usize) -> &mut RedisServer {
        &mut self.nodes[index]
    }

    /// Returns the number of the node that serves `key` by the word of a node that runs.
    ///
    /// # Panics
    ///
    /// When no node runs, or none of them serves it.
    pub fn owner(&self, key: &str) -> usize {
        self.find_owner(key).unwrap_or_else(|| panic!("no node serves {key}"))
    }

    /// Returns the number of the node that serves `key`, if a node runs and knows of one that does.
    pub fn find_owner(&self, key: &str) -> Option<usize> {
        let asked = self.nodes.iter().find(|node| node.pid().is_some())?;
        let slot = asked.command(&["CLUSTER", "KEYSLOT", key]).int();
        let table = self.known_to(asked);
        let serves = |line: &&str| {
            let fields: Vec<&str> = line.split(' ').collect();
            let ranges = fields.get(8..).unwrap_or_default();
            !fields[2].contains("fail") && ranges.iter().any(|range| {
                let (from, to) = range.split_once('-').unwrap_or((range, range));
                matches!((from.parse::<i64>(), to.parse::<i64>()), (Ok(from), Ok(to)) if (from..=to).contains(&slot))
            })
        };
        let line = table.lines().find(serves)?;
        let address = line.split(' ').nth(1)?;
        let port = address.split('@').next()?.rsplit(':').next()?.parse::<u16>().ok()?;
        self.nodes.iter().position(|node| node.port() == port)
    }

    fn known_to(&self, node: &RedisServer) -> String {
        node.command(&["CLUSTER", "NODES"]).text().trim().to_owned()
    }

    fn expect(&self, what: &str, is_done: impl Fn(&Self) -> bool) {
        let done = eventually(PATIENCE, || is_done(self));
        assert!(done, "the nodes do not {what}:\n{}", self.known_to(&self.nodes[0]));
    }
}

const SLOTS: usize = 16384;
const PATIENCE: Duration = Duration::from_secs(60);
