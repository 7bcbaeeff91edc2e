"""An S3 server on this machine (moto's), which can fail, be slow, and kill its client."""

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_MAX_ATTEMPTS": "2",
    "AWS_EC2_METADATA_DISABLED": "true",  # nothing else is asked for credentials
}

Answer = Callable[[Request, int], Response | None]


class BucketServer:
    """The server; `answer` may answer a request in its place, and is told how many came before.

    `requests` has the method and the path of each.
    """

    def __init__(self):
        # Seconds, which files that are only collected need not take.
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.application = DomainDispatcherApplication(create_backend_app)
        self.requests: list[str] = []
        self.answer: Answer = lambda request, number: None
        self.server = make_server("127.0.0.1", 0, self.serve, threaded=True)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def serve(self, environ, start_response):
        request = Request(environ)
        self.requests.append(f"{request.method} {request.full_path.rstrip('?')}")
        application = self.answer(request, len(self.requests) - 1) or self.application
        return application(environ, start_response)

    def count(self, word: str) -> int:
        """How many requests so far begin with this."""
        return sum(each.startswith(word) for each in self.requests)

    def reset(self) -> None:
        """Forget all that was stored and asked for."""
        self.answer = lambda request, number: None
        self.call("POST", "/moto-api/reset")
        self.call("PUT", "/bucket")
        self.requests.clear()

    def call(self, method: str, path: str, data: bytes | None = None) -> bytes:
        """Send a request to the application itself."""
        from werkzeug.test import Client

        headers = {"Host": f"127.0.0.1:{self.server.port}", "Authorization": AUTHORIZATION}
        response = Client(self.application).open(path, method=method, data=data, headers=headers)
        assert response.status_code < 300, response.text
        return response.data

    def close(self) -> None:
        self.server.shutdown()


AUTHORIZATION = "AWS4-HMAC-SHA256 Credential=testing/20260101/us-east-1/s3/aws4_request"


def fail(request: Request, number: int) -> Response:
    body = "<Error><Code>InternalError</Code><Message>We are ill.</Message></Error>"
    return Response(body, 500, content_type="application/xml")


def wait(seconds: float) -> Answer:
    return lambda request, number: time.sleep(seconds)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    time.sleep(60)  # the client is gone


@pytest.fixture(scope="session")
def server() -> Iterator[BucketServer]:
    result = BucketServer()
    yield result
    result.close()


@pytest.fixture
def s3(server, monkeypatch) -> BucketServer:
    """An empty bucket `s3://bucket`, and the environment by which it is found."""
    for name, value in (CREDENTIALS | {"AWS_ENDPOINT_URL": server.url}).items():
        monkeypatch.setenv(name, value)
    server.reset()
    return server
