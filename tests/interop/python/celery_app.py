"""A Celery application whose results are messages (`rpc://`).

    celery_app.py worker URL    works until it is ended; says {"ready": true} when it takes tasks
    celery_app.py client URL    sends a task for each line {"args": [...], "kwargs": {...}} and says what came of it
"""

import json
import sys

from celery import Celery
from celery.signals import worker_ready

role, url = sys.argv[1:]
app = Celery("proj", broker=url, backend="rpc://")
app.conf.update(
    result_persistent=False,
    broker_connection_retry_on_startup=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
)


@app.task(name="proj.add")
def add(x, y, times=1):
    return (x + y) * times


def say(what):
    print(json.dumps(what), flush=True)


if role == "worker":
    worker_ready.connect(lambda **_: say({"ready": True}), weak=False)
    app.worker_main(
        ["worker", "--pool=solo", "--loglevel=WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
    )
else:
    for line in sys.stdin:
        result = app.send_task("proj.add", **json.loads(line))
        say({"id": result.id, "result": result.get(timeout=60)})
