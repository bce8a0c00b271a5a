"""Serves S3 from memory (moto) on a free port, which it prints, until its input ends.

With the argument `faults` some requests fail: a write that happens and is reported as failed (500), a
read that is refused (503) or breaks off half way. With `slow` some writes happen and are answered too
late for a client that waits three seconds, and some reads take their time.
"""

import itertools
import os
import sys
import threading
import time

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server


class Faulty:
    def __init__(self, app, faults, slow):
        self.app = app
        self.faults = faults
        self.slow = slow
        self.active = False
        self.writes, self.reads = itertools.count(1), itertools.count(1)
        # moto looks and then writes; S3 does both at once.
        self.lock = threading.Lock()

    def __call__(self, environ, start_response):
        answer = []
        method = environ["REQUEST_METHOD"]
        faulty = (self.faults or self.slow) and self.active
        write = next(self.writes) if faulty and method == "PUT" else 1
        read = next(self.reads) if faulty and method == "GET" else 1
        if self.slow and read % 10 == 0:
            time.sleep(0.2)
        if self.faults and read % 5 == 0:
            start_response("503 Slow Down", [("Content-Length", "0")])
            return [b""]
        with self.lock:
            note = lambda status, headers, info=None: answer.extend([status, headers])
            body = b"".join(self.app(environ, note))
        if self.slow and write % 20 == 0:
            time.sleep(3.5)
        if self.faults and write % 4 == 0:
            start_response("500 Internal Server Error", [("Content-Length", "0")])
            return [b""]
        start_response(answer[0], answer[1])
        return [body[: len(body) // 2] if self.faults and read % 7 == 0 else body]


class Quiet(WSGIRequestHandler):
    def log(self, *_):
        pass


backend = DomainDispatcherApplication(create_backend_app)
app = Faulty(backend, "faults" in sys.argv, "slow" in sys.argv)
server = make_server("127.0.0.1", 0, app, threaded=True, request_handler=Quiet)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.port}"
keys = {"aws_access_key_id": "test", "aws_secret_access_key": "test"}
boto3.client("s3", endpoint_url=url, region_name="us-east-1", **keys).create_bucket(Bucket="weir")
app.active = True
print(url, flush=True)
sys.stdin.read()
os._exit(0)
