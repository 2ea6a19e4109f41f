"""A Python worker for the chaos tests: consumes until its standard input ends, and writes down what it does.

    chaos_worker.py URL QUEUE JOURNAL

Each line of the journal is one write: what, when in nanoseconds, the message's text, how it came.
"""

import json
import os
import socket
import sys
import threading
import time

from kombu import Connection, Consumer, Queue

url, queue, path = sys.argv[1:]
journal = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
over = threading.Event()


def note(what, text, how):
    os.write(journal, f"{what} {time.time_ns()} {text} {how}\n".encode())


def on_message(message):
    text = message.body if isinstance(message.body, str) else bytes(message.body).decode()
    headers = message.headers or {}
    if headers.get("x-republished"):
        how = "republished"
    elif headers.get("redelivered") or message.delivery_info.get("redelivered"):
        how = "redelivered"
    else:
        how = "first"
    note("received", text, how)
    note("acking", text, how)
    message.ack()
    note("acked", text, how)


def until_told_to_end():
    sys.stdin.read()
    over.set()


threading.Thread(target=until_told_to_end, daemon=True).start()
with Connection(url) as connection:
    consumer = Consumer(connection.channel(), [Queue(queue, no_declare=True)], on_message=on_message,
                        accept=["text/plain", "json"], prefetch_count=10, auto_declare=False)
    with consumer:
        print(json.dumps({"ready": True}), flush=True)
        while not over.is_set():
            try:
                connection.drain_events(timeout=0.5)
            except (socket.timeout, TimeoutError):
                pass
print(json.dumps({"done": True}), flush=True)
