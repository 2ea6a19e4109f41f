"""How fast Python Kombu is: one process, one URL, rates in messages per second as one JSON line.

    bench_kombu.py redis://127.0.0.1:6379/0 --count 20000 --body-size 200
    bench_kombu.py memory:// --count 20000 --prefetch 100 256

Each way of publishing fills a queue with `count` messages; then as many are consumed and acknowledged one by one, once for
each prefetch window. Kombu's own quickest calls are used: one `Producer` with a bound exchange, bodies as bytes, which no
serializer touches, and `on_message`, which decodes nothing. Every body is counted and compared, so a rate is only reported
for messages that arrived. The queues are deleted at the end.
"""

import argparse
import json
import platform
import socket
import sys
import time
import uuid

import kombu
from kombu import Connection, Consumer, Exchange, Producer, Queue

IDLE = 10  # seconds without a message after which the run has failed


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("url", help="memory:// or redis://host:port/db")
    options.add_argument("--count", type=int, default=10_000, help="messages per measurement (10000)")
    options.add_argument("--body-size", type=int, default=200, help="bytes per body (200)")
    options.add_argument("--prefetch", type=int, nargs="+", default=[100, 256], help="windows to consume with (100 256)")
    options = options.parse_args()

    with Connection(options.url) as connection:
        report = {
            "kombu": kombu.__version__,
            "python": platform.python_version(),
            "transport": connection.transport.driver_type,
            "count": options.count,
            "body_size": options.body_size,
            "rates": measure(connection, options),
        }
    print(json.dumps(report))


def measure(connection, options):
    name = f"bench-{uuid.uuid4().hex}"
    exchange = Exchange(name, "direct", durable=True)
    queue = Queue(name, exchange, routing_key=name)
    body = b"x" * options.body_size
    rates = {}
    channel = connection.channel()
    bound = queue(channel)
    bound.declare()
    producer = Producer(channel, auto_declare=False)
    named = {"exchange": exchange, "routing_key": name}
    default = {"exchange": "", "routing_key": name}

    def publish(target):
        for _ in range(options.count):
            producer.publish(body, content_type="application/data", content_encoding="binary", **target)

    def publish_batch(target):
        with producer.batch(max_size=1000):
            publish(target)

    try:
        rates["publish_exchange"] = rate(options.count, publish, named)
        expect(bound, options.count)
        bound.purge()
        rates["publish_default_exchange"] = rate(options.count, publish, default)
        expect(bound, options.count)
        bound.purge()
        if producer.supports_batch_publish:
            rates["publish_batch"] = rate(options.count, publish_batch, named)
            expect(bound, options.count)
            bound.purge()
        for prefetch in options.prefetch:
            publish(default)
            rates[f"consume_ack_prefetch_{prefetch}"] = rate(options.count, consume, connection, queue, prefetch,
                                                             options.count, body)
            expect(bound, 0)
    finally:
        bound.delete()
        exchange(channel).delete()
        channel.close()
    return rates


def consume(connection, queue, prefetch, count, body):
    channel = connection.channel()
    received = 0

    def on_message(message):
        nonlocal received
        if bytes(message.body) != body:
            sys.exit("a body came back changed")
        message.ack()
        received += 1

    consumer = Consumer(channel, [queue], on_message=on_message, prefetch_count=prefetch, auto_declare=False)
    with consumer:
        while received < count:
            try:
                connection.drain_events(timeout=IDLE)
            except socket.timeout:
                sys.exit(f"only {received} of {count} messages came")
    channel.close()


def expect(bound, count):
    waiting = bound.queue_declare(passive=False)[1]
    if waiting != count:
        sys.exit(f"{waiting} messages wait where {count} should")


def rate(count, work, *arguments):
    begin = time.perf_counter()
    work(*arguments)
    return round(count / (time.perf_counter() - begin), 1)


if __name__ == "__main__":
    main()
