"""A real HTTP server on loopback that speaks the chat protocol, and misbehaves on demand."""

import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "judge-1"
Answer = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    """Answers `/v1/models`, and chat requests as the server's script says."""

    protocol_version = "HTTP/1.1"
    server: "BadServer"

    def do_GET(self) -> None:
        self.server.keys.append(self.headers.get("Authorization", ""))
        self.server.listing(self, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.take(self, body)

    def send(self, status: int, content: Any, headers: dict[str, str] | None = None) -> None:
        self.send_text(status, json.dumps(content), headers)

    def send_text(self, status: int, text: str, headers: dict[str, str] | None = None) -> None:
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing."""


class BadServer(ThreadingHTTPServer):
    """Plays `script` answer by answer, then `default` for ever."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, script: list[Answer], default: Answer) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests: list[dict[str, Any]] = []
        self.times: list[float] = []
        self.keys: list[str] = []
        self.listing: Answer = sends({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        self._script = list(script)
        self._default = default
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def take(self, handler: Handler, body: dict[str, Any]) -> None:
        with self._lock:
            self.requests.append(body)
            self.times.append(time.monotonic())
            self.keys.append(handler.headers.get("Authorization", ""))
            answer = self._script.pop(0) if self._script else self._default
        answer(handler, body)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the play."""


@contextmanager
def bad_server(script: list[Answer], default: Answer | None = None) -> Iterator[BadServer]:
    server = BadServer(script, default or says("Rating: [[7]]"))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def reply(text: str | None, finish_reason: str = "stop", **message: Any) -> dict[str, Any]:
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110},
    }


def says(text: str | None, finish_reason: str = "stop", **message: Any) -> Answer:
    return lambda handler, _: handler.send(200, reply(text, finish_reason, **message))


def sends(content: Any) -> Answer:
    return lambda handler, _: handler.send(200, content)


def fails(status: int, headers: dict[str, str] | None = None, **error: Any) -> Answer:
    return lambda handler, _: handler.send(status, {"error": {"message": "out of order", **error}}, headers)


def hangs(seconds: float = 60.0) -> Answer:
    def answer(_handler: Handler, _body: dict[str, Any]) -> None:
        time.sleep(seconds)

    return answer


def resets(handler: Handler, _body: dict[str, Any]) -> None:
    """End the connection with a reset."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.close()


def truncates(handler: Handler, _body: dict[str, Any]) -> None:
    """Send half of the JSON, with a length that says it is whole."""
    text = json.dumps(reply("Rating: [[7]]"))
    handler.send_text(200, text[: len(text) // 2])


def drips(handler: Handler, _body: dict[str, Any]) -> None:
    """Send a byte every tenth of a second, so that no time limit between bytes is ever hit."""
    data = json.dumps(reply("Rating: [[7]]")).encode()
    handler.send_response(200)
    handler.send_header("Content-Type", "application/json")
    handler.send_header("Content-Length", str(len(data)))
    handler.end_headers()
    for position in range(len(data)):
        handler.wfile.write(data[position : position + 1])
        time.sleep(0.1)
