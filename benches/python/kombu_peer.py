"""Python Kombu's side of `side_by_side`: one connection, driven by JSON lines, one measurement per line.

    {"url": "redis://127.0.0.1:6379/0", "bodies": [...]}          first; answers with versions
    {"do": "publish", "via": "named", "count": 1000}              named, default or batch
    {"do": "consume", "prefetch": 256, "count": 1000}

Each measurement answers {"seconds": …, "cpu": …}. Kombu's own quickest calls are used: one `Producer` with a declared exchange,
bodies that are JSON already, so no serializer runs, and `on_message`, which decodes nothing. Every body that comes is compared.
"""

import json
import platform
import socket
import sys
import time

import kombu
from kombu import Connection, Consumer, Exchange, Producer, Queue

NAME = "bench.python"
IDLE = 10  # seconds without a message after which the run has failed


class Peer:
    def __init__(self, url, bodies):
        self.bodies = bodies
        # Without it RabbitMQ is not asked whether it has a message; other transports do not know the option.
        options = {"confirm_publish": True} if url.startswith("amqp") else {}
        self.connection = Connection(url, transport_options=options)
        self.channel = self.connection.channel()
        exchange = Exchange(NAME, "direct", durable=True)
        self.queue = Queue(NAME, exchange, routing_key=NAME)
        self.bound = self.queue(self.channel)
        self.bound.declare()
        self.producer = Producer(self.channel, auto_declare=False)
        self.targets = {
            "named": {"exchange": exchange, "routing_key": NAME},
            "default": {"exchange": "", "routing_key": NAME},
        }

    def publish(self, via, count):
        if via == "batch":
            with self.producer.batch(max_size=1000):
                self.publish("named", count)
            return
        publish, target, bodies = self.producer.publish, self.targets[via], self.bodies
        for index in range(count):
            publish(bodies[index % len(bodies)], content_type="application/json", content_encoding="utf-8", **target)

    def consume(self, prefetch, count):
        channel = self.connection.channel()
        expected = [body.encode() for body in self.bodies]
        received = 0

        def on_message(message):
            nonlocal received
            body = message.body
            if (body if isinstance(body, bytes) else body.encode()) != expected[received % len(expected)]:
                sys.exit(f"message {received} came back changed")
            message.ack()
            received += 1

        with Consumer(channel, [self.queue], on_message=on_message, prefetch_count=prefetch, auto_declare=False):
            while received < count:
                try:
                    self.connection.drain_events(timeout=IDLE)
                except socket.timeout:
                    sys.exit(f"only {received} of {count} messages came")
        channel.close()

    def waiting(self):
        return self.bound.queue_declare(passive=False)[1]


def measure(peer, command):
    count = command["count"]
    begin, cpu = time.perf_counter(), time.process_time()
    if command["do"] == "publish":
        peer.publish(command["via"], count)
    else:
        peer.consume(command["prefetch"], count)
    seconds, cpu = time.perf_counter() - begin, time.process_time() - cpu
    left = count if command["do"] == "publish" else 0
    if peer.waiting() != left:
        sys.exit(f"{peer.waiting()} messages wait where {left} should")
    return {"seconds": seconds, "cpu": cpu}


def main():
    first = json.loads(sys.stdin.readline())
    peer = Peer(first["url"], first["bodies"])
    batch = bool(getattr(peer.producer, "supports_batch_publish", False))
    answer({"kombu": kombu.__version__, "python": platform.python_version(), "batch": batch})
    for line in sys.stdin:
        answer(measure(peer, json.loads(line)))


def answer(value):
    print(json.dumps(value), flush=True)


if __name__ == "__main__":
    main()
