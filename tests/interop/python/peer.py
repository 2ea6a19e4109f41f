"""The Python end of the interoperability tests: Kombu, driven by JSON lines.

One request per line on standard input, one reply per line on standard output:

    {"do": "declare", "queue": {"name": "orders"}, "id": 7}
    {"ok": true, "id": 7, "queue": "orders"}
    {"ok": false, "id": 7, "error": {"type": "...", "message": "...", "traceback": "..."}}

Nothing waits for ever: a request that takes longer than its "deadline" (60 seconds by default) is answered with an error
that shows where it hung, and the program ends. It also ends when its standard input does.

Values that JSON cannot say are written {"$type": T, "$value": V}; see values.py for the types. A body is
{"kind": "text", "value": "..."}, {"kind": "bytes", "value": "<base64>"} or {"kind": "json", "value": ...}.

The requests are the methods of `Peer`; their keyword arguments are the fields of the request.
"""

import json
import os
import queue as queues_of_python
import socket
import sys
import threading
import time
import traceback
from collections import deque

import kombu
from kombu import Connection, Consumer, Exchange, Producer, Queue
from kombu.serialization import prepare_accept_content

from values import body_from_json, error_to_json, from_json, message_to_json, to_json

SLICE = 0.1  # seconds: how long one wait for events lasts before the clock and the input are looked at


class Lane:
    """A channel with its consumer, what was delivered and not looked at yet, and what was looked at and not settled."""

    def __init__(self, channel):
        self.channel = channel
        self.consumer = None
        self.arrived = deque()
        self.held = {}

    def consume(self, queues, prefetch, no_ack):
        def arrived(message, error=None):
            self.arrived.append((message, error))

        self.consumer = Consumer(self.channel, queues, no_ack=no_ack, auto_declare=False, on_message=arrived,
                                 prefetch_count=prefetch or None)
        self.consumer.on_decode_error = arrived
        self.consumer.consume()

    def settle(self, message, how):
        if how == "leave":
            self.held[str(message.delivery_tag)] = message
            return
        self.held.pop(str(message.delivery_tag), None)
        {"ack": message.ack, "requeue": message.requeue, "reject": message.reject}[how]()


class Peer:
    """The requests: one method each. `channel` is a name of the caller's choice; a channel opens at its first use."""

    def __init__(self, incoming, write):
        self.incoming = incoming
        self.write = write
        self.connection = None
        self.lanes = {}
        self.exchanges = {}
        self.queues = {}

    def versions(self):
        """Answers with the versions of Kombu and Python."""
        return {"kombu": kombu.__version__, "python": sys.version.split()[0], "pid": os.getpid()}

    def connect(self, url, transport_options=None, **options):
        """Connects, after closing the connection there was; `options` are those of `kombu.Connection`."""
        self.close()
        transport_options = dict(transport_options or {})
        if url.startswith(("amqp", "pyamqp")):
            # What was published is in the queue when this side says so.
            transport_options.setdefault("confirm_publish", True)
        self.connection = Connection(url, transport_options=transport_options, **options)
        self.connection.ensure_connection(max_retries=1, timeout=10)
        return {"transport": self.connection.transport.driver_type}

    def close(self):
        """Closes the connection: what was delivered and not settled goes back to its queues."""
        connection, self.connection, self.lanes = self.connection, None, {}
        if connection is not None:
            connection.release()
        return {}

    def close_channel(self, channel):
        """Closes a channel: what was delivered on it and not settled goes back to its queues."""
        self.lanes.pop(channel).channel.close()
        return {}

    def declare(self, exchange=None, queue=None, channel="main"):
        """Declares an exchange (its fields are those of `kombu.Exchange`), or a queue with its bindings, or both.

        A queue's fields are those of `kombu.Queue`; `bindings` is a list of {"exchange", "routing_key", "arguments"}. With
        `exchange` beside it the queue is bound to that one, by its own `routing_key`. Later requests use the names.
        """
        lane = self._lane(channel)
        bound_to = None
        if exchange is not None:
            bound_to = self.exchanges[exchange["name"]] = Exchange(**from_json(exchange))
            bound_to(lane.channel).declare()
        if queue is None:
            return {}
        fields = from_json(queue)
        bindings = [
            kombu.binding(self._exchange(each["exchange"]), each.get("routing_key", ""), each.get("arguments"))
            for each in fields.pop("bindings", [])
        ]
        if bindings:
            fields["exchange"], fields["bindings"] = None, bindings
        elif bound_to is not None:
            fields["exchange"] = bound_to
        entity = Queue(**fields)
        bound = entity(lane.channel)
        bound.declare()
        entity.name = bound.name  # a server's choice, if it was empty
        self.queues[entity.name] = entity
        return {"queue": entity.name}

    def size(self, queue, channel="main"):
        """Answers with how many messages wait; an error if the queue does not exist (a passive declaration)."""
        declared = self._lane(channel).channel.queue_declare(queue, passive=True)
        return {"messages": declared.message_count, "consumers": declared.consumer_count}

    def bind(self, queue, exchange, routing_key="", channel="main"):
        """Adds a binding."""
        self._queue(queue)(self._lane(channel).channel).bind_to(self._exchange(exchange), routing_key)
        return {}

    def unbind(self, queue, exchange, routing_key="", channel="main"):
        """Removes a binding."""
        self._queue(queue)(self._lane(channel).channel).unbind_from(self._exchange(exchange), routing_key)
        return {}

    def purge(self, queue, channel="main"):
        """Removes the messages that wait, and answers with how many there were."""
        return {"purged": self._queue(queue)(self._lane(channel).channel).purge()}

    def delete(self, queue=None, exchange=None, channel="main"):
        """Deletes a queue or an exchange."""
        entity = self._queue(queue) if queue is not None else self._exchange(exchange)
        entity(self._lane(channel).channel).delete()
        return {}

    def publish(self, body=None, exchange="", routing_key="", options=None, bodies=None, count=1, numbered=False,
                batch=None, channel="main"):
        """Publishes one body `count` times, or each of `bodies`.

        `options` are the other keywords of `Producer.publish`. `numbered` gives the messages a header `id` from 0 on.
        `batch` publishes through `Producer.batch` of that size.
        """
        options = from_json(options or {})
        values = [body_from_json(each) for each in (bodies if bodies is not None else [body] * count)]
        producer = Producer(self._lane(channel).channel, auto_declare=False)

        def publish_all():
            for number, value in enumerate(values):
                headers = dict(options.get("headers") or {}, **({"id": number} if numbered else {}))
                producer.publish(value, exchange=self._exchange(exchange), routing_key=routing_key,
                                 **dict(options, headers=headers))

        if batch is None:
            publish_all()
        else:
            with producer.batch(max_size=batch):
                publish_all()
        return {"published": len(values)}

    def get(self, queue, settle="ack", no_ack=False, accept=None, channel="main"):
        """Takes one message, or answers with null. `accept` is Kombu's; by default every serializer is accepted."""
        lane = self._lane(channel)
        message = self._queue(queue)(lane.channel).get(no_ack=no_ack, accept=accept)
        report = None
        if message is not None:
            report = message_to_json(message)
            if not no_ack:
                lane.settle(message, settle)
        return {"message": report}

    def subscribe(self, queue=None, queues=None, prefetch=0, no_ack=False, channel="main"):
        """Begins to consume, and answers when the broker knows: what is published after the answer is delivered.

        Deliveries are fetched by `consume` on the same channel.
        """
        lane = self._lane(channel)
        self._start(lane, queue, queues, prefetch, no_ack)
        self._await_subscription(lane.channel)
        return {}

    def consume(self, queue=None, queues=None, count=1, patience=20, prefetch=0, no_ack=False, settle="ack", accept=None,
                channel=None):
        """Waits until `count` messages came or `patience` seconds are over, and answers with those that came.

        `settle` is ack, requeue, reject or leave; a list settles one message each, the last entry all that follow. With
        a `channel` the consumer and what was left stay until that channel is closed; without one the channel is closed
        at the end, which puts back what was left.
        """
        lane = self._lane(channel) if channel else Lane(self._connected().channel())
        policy = [settle] if isinstance(settle, str) else list(settle)
        accepted = prepare_accept_content(accept)
        reports = []

        def enough():
            while lane.arrived and len(reports) < count:
                message, error = lane.arrived.popleft()
                message.accept = accepted
                how = policy[min(len(reports), len(policy) - 1)]
                reports.append(message_to_json(message, error))
                if not no_ack:
                    lane.settle(message, how)
            return len(reports) >= count

        try:
            if lane.consumer is None:
                self._start(lane, queue, queues, prefetch, no_ack)
            self._drain(enough, patience)
        finally:
            if channel is None:
                lane.channel.close()
        return {"messages": reports}

    def settle(self, delivery_tag, how, channel="main"):
        """Settles a message that was left: ack, requeue or reject."""
        lane = self._lane(channel)
        lane.settle(lane.held[str(delivery_tag)], how)
        return {}

    def recover(self, channel="main"):
        """Puts back everything that was delivered on the channel and not settled."""
        lane = self._lane(channel)
        lane.channel.basic_recover(requeue=True)
        lane.held.clear()
        return {}

    def stress_consume(self, queue=None, queues=None, prefetch=10, settle="ack", work=0, patience=50):
        """Consumes and settles until {"do": "stop"} comes or `patience` seconds are over; its reply is also stop's.

        Each message makes a line {"event": "received", "id", "redelivered"}, written before it is settled, and a line
        {"event": "settled", "id"} after. The id is the header `id`, or else the body. `work` seconds lie in between.
        """
        lane = Lane(self._connected().channel())
        counts = {"received": 0, "stopped": False}

        def handle(message):
            name = message.headers.get("id")
            name = to_json(message.payload if name is None else name)
            counts["received"] += 1
            self.write({"event": "received", "id": name, "redelivered": message_to_json(message)["redelivered"]})
            if work:
                time.sleep(work)
            lane.settle(message, settle)
            self.write({"event": "settled", "id": name})

        def stopped():
            while lane.arrived:
                message, error = lane.arrived.popleft()
                if error is not None:
                    raise error
                handle(message)
            try:
                request = self.incoming.get_nowait()
            except queues_of_python.Empty:
                return False
            if request is None:
                self.incoming.put(None)  # the input has ended: main sees it too
            elif request.get("do") != "stop":
                raise ValueError(f"only stop is understood now, not {request}")
            counts["stopped"] = True
            return True

        try:
            self._start(lane, queue, queues, prefetch, False)
            self._await_subscription(lane.channel)
            self.write({"event": "consuming"})
            self._drain(stopped, patience)
        finally:
            lane.channel.close()
        return counts

    def sweep(self, visibility_timeout=0, fresh=False):
        """Puts back what lies in `unacked` for longer than `visibility_timeout` seconds, as Kombu's timer does.

        `fresh` does it over a new connection, which has declared nothing. Redis only.
        """
        connection = self._connected().clone() if fresh else self._connected()
        channel = connection.channel()
        try:
            channel.visibility_timeout = visibility_timeout
            channel.qos.restore_visible(num=channel.unacked_restore_limit, interval=1)
            with channel.conn_or_acquire() as client:
                return {"left": client.zcard(channel.unacked_index_key)}
        finally:
            channel.close()
            if fresh:
                connection.release()

    # --- helpers ---

    def _connected(self):
        if self.connection is None:
            raise RuntimeError("not connected: send connect first")
        return self.connection

    def _lane(self, name):
        if name not in self.lanes:
            self.lanes[name] = Lane(self._connected().channel())
        return self.lanes[name]

    def _exchange(self, name):
        return self.exchanges.get(name) or Exchange(name)

    def _queue(self, name):
        return self.queues.get(name) or Queue(name)

    def _start(self, lane, queue, queues, prefetch, no_ack):
        names = queues if queues is not None else [queue]
        if not names or None in names:
            raise ValueError("no queue named")
        lane.consume([self._queue(name) for name in names], prefetch, no_ack)

    def _drain(self, done, patience):
        deadline = time.monotonic() + patience
        while not done() and (left := deadline - time.monotonic()) > 0:
            try:
                self.connection.drain_events(timeout=min(SLICE, left))
            except socket.timeout:
                pass

    def _await_subscription(self, channel):
        """Returns when the server has all PSUBSCRIBEs of `channel`; other transports need no such wait."""
        wanted = len(getattr(channel, "active_fanout_queues", ()))
        if not wanted:
            return

        def subscribed():
            connection = channel.subclient.connection
            if connection is None or connection._sock is None:
                return False
            own = "%s:%s" % connection._sock.getsockname()[:2]
            clients = channel.client.client_list()
            return any(each["addr"] == own and int(each["psub"]) >= wanted for each in clients)

        self._drain(subscribed, 10)
        if not subscribed():
            raise RuntimeError("the server does not know of the subscription after 10 seconds")


def main():
    kombu.enable_insecure_serializers()
    incoming = queues_of_python.Queue()
    lock = threading.Lock()

    def write(reply):
        with lock:
            sys.stdout.write(json.dumps(reply) + "\n")
            sys.stdout.flush()

    def read():
        for line in sys.stdin:
            try:
                incoming.put(dict(json.loads(line)))
            except ValueError as error:
                write({"ok": False, "error": error_to_json(error)})
        incoming.put(None)
        time.sleep(10)  # for what is being done; whoever asked has gone
        os._exit(3)

    def hung(name, identity, main_thread):
        where = "".join(traceback.format_stack(sys._current_frames()[main_thread]))
        error = {"type": "Deadline", "message": f"{name} takes too long", "traceback": where}
        write({"ok": False, "id": identity, "error": error})
        os._exit(4)

    threading.Thread(target=read, daemon=True).start()
    peer = Peer(incoming, write)
    while (request := incoming.get()) is not None:
        name, identity = request.pop("do", None), request.pop("id", None)
        guard = threading.Timer(request.pop("deadline", 60), hung, (name, identity, threading.get_ident()))
        guard.daemon = True
        guard.start()
        try:
            method = None if str(name).startswith("_") else getattr(Peer, str(name), None)
            if method is None:
                raise ValueError(f"no request is called {name}")
            reply = {"ok": True, **method(peer, **request)}
        except Exception as error:
            reply = {"ok": False, "error": error_to_json(error)}
        guard.cancel()
        write({**reply, **({} if identity is None else {"id": identity})})
    peer.close()


if __name__ == "__main__":
    main()
