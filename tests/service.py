"""HTTP requests to the example service."""

import http.client
import json
import time
from collections.abc import Iterable
from contextlib import closing
from typing import Any

FORM = {"Content-Type": "multipart/form-data; boundary=limit"}


def form(file: bytes, name: str = 'image"; filename="file') -> bytes:
    """Return a multipart body with one field."""
    head = f'--limit\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'
    return head.encode() + file + b"\r\n--limit--\r\n"


def request(
    port: int,
    method: str,
    path: str,
    body: bytes | Iterable[bytes] = b"",
    headers: dict[str, str] | None = None,
) -> tuple[int, Any]:
    """Send a request; return the status and the JSON of the answer."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, json.load(response)


def predict(port: int, file: bytes) -> tuple[int, Any]:
    """Upload an image file."""
    return request(port, "POST", "/predict", form(file), FORM)


def until_trained(port: int) -> Any:
    """Wait until no training is running; return the answer of ``/health``."""
    deadline = time.monotonic() + 120
    while (health := request(port, "GET", "/health")[1])["training"] == "running":
        assert time.monotonic() < deadline, "the training does not end"
        time.sleep(0.05)
    return health
