"""Measure the example service in its container, and write the table in benchmarks/README.md.

    docker buildx bake service
    python -m benchmarks.service

It takes half a minute on two cores, which the clients share with the service.
"""

import asyncio
import http.client
import io
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from PIL import Image

from benchmarks.measure import machine, table, write_section
from mnistctl import Classifier, load_dataset, read_image

IMAGE = "mnistctl:service"
REQUESTS, CLIENTS, IMAGES = 2000, 32, 500
STARTS = 5
HEAD = (
    "POST /predict HTTP/1.1\r\nHost: service\r\n"
    "Content-Type: multipart/form-data; boundary=limit\r\nContent-Length: {}\r\n\r\n"
)
FIELD = b'--limit\r\nContent-Disposition: form-data; name="image"; filename="image"\r\n\r\n'


def docker(*arguments: str) -> str:
    """Run docker and return its output."""
    command = ["docker", *arguments]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


@contextmanager
def running(image: str) -> Iterator[tuple[str, int, float]]:
    """Run an image; yield the container, its port, and the seconds to the first answer."""
    began = time.perf_counter()
    container = docker("run", "--detach", "--read-only", "--publish=127.0.0.1::8000", image)
    try:
        port = int(docker("port", container, "8000/tcp").rpartition(":")[2])
        while not answers(port):
            time.sleep(0.005)
        yield container, port, time.perf_counter() - began
    finally:
        docker("rm", "--force", container)


def answers(port: int) -> bool:
    """Say whether the service answers a request."""
    with suppress(OSError, http.client.HTTPException):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


def megabytes(container: str) -> float:
    """Return the memory that the service has."""
    program = "print(open('/proc/1/status').read())"
    status = docker("exec", container, "python", "-c", program)
    return int(re.findall(r"VmRSS:\s*(\d+)", status)[0]) / 1024


def uploads() -> list[tuple[bytes, int]]:
    """Return requests with MNIST's digits as PNG files, and the digit that answers each."""
    classifier = Classifier.load()
    requests = []
    for image in load_dataset("test").images[:IMAGES]:
        png = io.BytesIO()
        Image.fromarray(image).save(png, "PNG")
        body = FIELD + png.getvalue() + b"\r\n--limit--\r\n"
        (prediction,) = classifier.predict(read_image(png.getvalue())[None])
        requests.append((HEAD.format(len(body)).encode() + body, prediction.digit))
    return requests


async def load(port: int, requests: list[tuple[bytes, int]]) -> list[float]:
    """Send the requests from all clients; return the seconds that each took.

    Raises:
        SystemExit: an answer is wrong.
    """
    queue = (requests[index % len(requests)] for index in range(REQUESTS))
    times = []

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request, digit in queue:
            began = time.perf_counter()
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(re.findall(rb"content-length: (\d+)", head.lower())[0])
            answer = json.loads(await reader.readexactly(length))
            times.append(time.perf_counter() - began)
            if answer.get("digit") != digit:
                sys.exit(f"expected {digit}, not {answer}")
        writer.close()

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return times


def measure(image: str) -> str:
    """Return the text for benchmarks/README.md."""
    starts = []
    for _ in range(STARTS):
        with running(image) as (_, _, first):
            starts.append(first)
    requests = uploads()
    with running(image) as (container, port, _):
        asyncio.run(load(port, requests))
        before = megabytes(container)
        began = time.perf_counter()
        times = asyncio.run(load(port, requests))
        seconds = time.perf_counter() - began
        after = megabytes(container)
    percentiles = statistics.quantiles(times, n=100)
    rows = [
        [f"{REQUESTS:,} predictions for {CLIENTS} clients", f"{REQUESTS / seconds:,.0f} a second"],
        ["median time of an answer", f"{percentiles[49] * 1000:.0f} ms"],
        ["99th percentile", f"{percentiles[98] * 1000:.0f} ms"],
        ["memory before and after", f"{before:.0f} MiB, {after:.0f} MiB"],
        ["first answer after `docker run`", f"{statistics.median(starts):.2f} s"],
    ]
    text = f"Measured on {machine()}. The clients run on the same cores."
    return f"{text}\n\n{table(['service', 'figure'], rows)}"


if __name__ == "__main__":
    write_section("service", measure(*sys.argv[1:] or [IMAGE]))
