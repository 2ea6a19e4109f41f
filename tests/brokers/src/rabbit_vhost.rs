//! One test's part of a RabbitMQ node.

use std::net::SocketAddr;

use crate::rabbit_server::{BY, RabbitServer, binary, number};

/// A virtual host of one test's own; made by [`RabbitServer::vhost`], and removed with everything in it when dropped.
#[derive(Debug)]
pub struct RabbitVhost<'a> {
    server: &'a RabbitServer,
    name: String,
}

impl<'a> RabbitVhost<'a> {
    #[track_caller]
    pub(crate) fn new(server: &'a RabbitServer, name: String) -> Self {
        let added = server.eval(&format!("rabbit_vhost:add({}, {BY})", binary(&name)));
        assert_eq!(added, "ok", "adding the virtual host {name}");
        server.set_permissions("guest", &name, ".*", ".*", ".*");
        RabbitVhost { server, name }
    }

    /// Returns the node this is a part of.
    pub fn server(&self) -> &'a RabbitServer {
        self.server
    }

    /// Returns the virtual host's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns its URL, as `guest`.
    pub fn url(&self) -> String {
        self.url_at(self.server.addr())
    }

    /// Returns its URL by way of `addr`, such as a proxy's, as `guest`.
    pub fn url_at(&self, addr: SocketAddr) -> String {
        self.url_for("guest", "guest", addr)
    }

    /// Returns its URL by way of `addr` as another user.
    pub fn url_for(&self, user: &str, password: &str, addr: SocketAddr) -> String {
        format!("amqp://{user}:{password}@{addr}/{}", self.name)
    }

    /// Returns how many client connections are open.
    ///
    /// # Panics
    ///
    /// When the node does not answer.
    #[track_caller]
    pub fn connections(&self) -> usize {
        self.count(&format!("length({})", self.connection_pids()))
    }

    /// Returns how many channels are open.
    ///
    /// # Panics
    ///
    /// When the node does not answer.
    #[track_caller]
    pub fn channels(&self) -> usize {
        let vhost = binary(&self.name);
        self.count(&format!("length([c || [{{vhost, {vhost}}}] <- rabbit_channel:info_all([vhost])])"))
    }

    /// Returns the names of all queues, sorted.
    ///
    /// # Panics
    ///
    /// When the node does not answer, or a name is not UTF-8.
    #[track_caller]
    pub fn queues(&self) -> Vec<String> {
        self.names("rabbit_amqqueue")
    }

    /// Returns the names of all exchanges that RabbitMQ has not made by itself, sorted.
    ///
    /// # Panics
    ///
    /// When the node does not answer, or a name is not UTF-8.
    #[track_caller]
    pub fn exchanges(&self) -> Vec<String> {
        let mut names = self.names("rabbit_exchange");
        names.retain(|name| !name.is_empty() && !name.starts_with("amq."));
        names
    }

    /// Returns how many messages a queue holds, ready and unacknowledged.
    ///
    /// # Panics
    ///
    /// When there is no such queue.
    #[track_caller]
    pub fn messages(&self, queue: &str) -> usize {
        number(&self.queue_info(queue, "messages"))
    }

    /// Returns how many messages of a queue are delivered and not acknowledged.
    ///
    /// # Panics
    ///
    /// When there is no such queue.
    #[track_caller]
    pub fn unacknowledged(&self, queue: &str) -> usize {
        number(&self.queue_info(queue, "messages_unacknowledged"))
    }

    /// Returns how many consumers a queue has.
    ///
    /// # Panics
    ///
    /// When there is no such queue.
    #[track_caller]
    pub fn consumers(&self, queue: &str) -> usize {
        number(&self.queue_info(queue, "consumers"))
    }

    /// Returns what `rabbitmqctl list_queues` calls `item` of a queue, as Erlang prints it.
    ///
    /// # Panics
    ///
    /// When there is no such queue or item.
    #[track_caller]
    pub fn queue_info(&self, queue: &str, item: &str) -> String {
        let name = self.resource(queue);
        self.server.eval(&format!(
            "begin {{ok, Q}} = rabbit_amqqueue:lookup({name}), [{{_, I}}] = rabbit_amqqueue:info(Q, [{item}]), I end"
        ))
    }

    /// Removes the messages of a queue that wait.
    ///
    /// # Panics
    ///
    /// When there is no such queue.
    #[track_caller]
    pub fn purge(&self, queue: &str) {
        let name = self.resource(queue);
        self.server.eval(&format!("begin {{ok, Q}} = rabbit_amqqueue:lookup({name}), rabbit_amqqueue:purge(Q) end"));
    }

    /// Closes the client connections to this virtual host, as an operator does: with the code 320 and `reason`.
    ///
    /// # Panics
    ///
    /// When the node does not answer.
    #[track_caller]
    pub fn close_connections(&self, reason: &str) {
        let reason = reason.escape_default().to_string();
        // One may be gone already: a client with several closes the others when it loses one.
        let each = format!("(catch rabbit_networking:close_connection(P, \"{reason}\"))");
        self.server.eval(&format!("[{each} || P <- {}]", self.connection_pids()));
    }

    fn resource(&self, queue: &str) -> String {
        format!("rabbit_misc:r({}, queue, {})", binary(&self.name), binary(queue))
    }

    fn connection_pids(&self) -> String {
        let vhost = binary(&self.name);
        format!("[P || [{{pid, P}}, {{vhost, {vhost}}}] <- rabbit_networking:connection_info_all([pid, vhost])]")
    }

    #[track_caller]
    fn names(&self, module: &str) -> Vec<String> {
        // The second element of the record of a queue or exchange is its full name, of which the fourth is its own.
        let printed = self.server.eval(&format!(
            "{{text, lists:join(10, [unicode:characters_to_list(element(4, element(2, R))) || R <- {module}:list({})])}}",
            binary(&self.name)
        ));
        let mut names: Vec<String> = printed.lines().map(str::to_owned).collect();
        names.sort();
        names
    }

    #[track_caller]
    fn count(&self, expression: &str) -> usize {
        number(&self.server.eval(expression))
    }
}

impl Drop for RabbitVhost<'_> {
    fn drop(&mut self) {
        // Goes on in the node by itself; an error means that the node is gone, and the virtual host with it.
        let _ = self.server.try_eval(&format!("spawn(fun() -> rabbit_vhost:delete({}, {BY}) end)", binary(&self.name)));
    }
}
