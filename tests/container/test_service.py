"""The image of the example service."""

import re
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from container.engine import ROOT, bake, docker, inspect
from service import predict, request, until_trained

from mnistctl import Classifier, load_dataset, read_image

LOCKED_DOWN = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
SEVEN = (ROOT / "examples/seven.png").read_bytes()


@pytest.fixture(scope="module", autouse=True)
def service_images(engine: None) -> None:  # noqa: ARG001
    """Build the service on the image for predictions, and on one that trains."""
    bake("predict", "service")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SERVICE_BASE", "cpu")
        bake("service", "--set=service.tags=mnistctl:service-cpu")


@contextmanager
def running(image: str, *flags: str) -> Iterator[tuple[str, int]]:
    """Run an image, locked down; yield the container and its port on this machine."""
    publish = "--publish=127.0.0.1::8000"
    container = docker("run", "--detach", publish, *LOCKED_DOWN, *flags, image).stdout.strip()
    try:
        _, _, port = docker("port", container, "8000/tcp").stdout.strip().rpartition(":")
        until_it_listens(container)
        yield container, int(port)
    finally:
        docker("rm", "--force", container)


def until_it_listens(container: str) -> None:
    """Wait for the line that uvicorn logs."""
    while "Uvicorn running on" not in (log := docker("logs", container).stderr):
        assert docker("inspect", "--format={{.State.Running}}", container).stdout == "true\n", log
        time.sleep(0.05)


def memory(container: str) -> int:
    """Return the kilobytes of memory that the service has."""
    program = "print(open('/proc/1/status').read())"
    status = docker("exec", container, "python", "-c", program).stdout
    return int(re.findall(r"VmRSS:\s*(\d+)", status)[0])


def test_the_service_adds_at_most_20_mb() -> None:
    service, base = (int(inspect(f"mnistctl:{tag}", "{{.Size}}")) for tag in ("service", "predict"))
    assert service - base <= 20_000_000


def test_it_predicts_as_any_user() -> None:
    with running("mnistctl:service", "--user=12345:54321") as (_, port):
        status, answer = predict(port, SEVEN)
    assert (status, answer["digit"]) == (200, 7)


def test_a_wrong_model_stops_the_start_with_one_sentence() -> None:
    model = "--env=MNISTCTL_MODEL=/model.onnx"
    result = docker("run", "--rm", *LOCKED_DOWN, model, "mnistctl:service", check=False)
    sentence = "mnistctl: /model.onnx: cannot be read: No such file or directory.\n"
    assert (result.returncode, result.stdout, result.stderr) == (1, "", sentence)


def test_an_upload_of_16_mb_needs_no_directory() -> None:
    with running("mnistctl:service") as (_, port):
        status, answer = predict(port, b"P5 4000 3999 255\n" + 15_996_000 * b"\xff")
    assert (status, answer["error"][:23]) == (422, "image data: is blank: n")


def test_2000_requests_of_32_clients_get_their_answers_in_constant_memory() -> None:
    test = load_dataset("test")
    files = [b"P5 28 28 255\n" + image.tobytes() for image in test.images[:500]]
    digits = [Classifier.load().predict(read_image(file)[None])[0].digit for file in files]
    with running("mnistctl:service") as (container, port), ThreadPoolExecutor(32) as clients:

        def answers() -> list[int]:
            return [answer["digit"] for _, answer in clients.map(lambda f: predict(port, f), files)]

        assert answers() == digits
        before = memory(container)
        for _ in range(3):
            assert answers() == digits
        assert memory(container) < 1.1 * before


def test_docker_stop_ends_it_within_two_seconds_with_an_open_connection() -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: service\r\nContent-Length: 9\r\n\r\n"
    with (
        running("mnistctl:service") as (container, port),
        socket.create_connection(("127.0.0.1", port)) as upload,
    ):
        upload.sendall(head)
        began = time.monotonic()
        docker("stop", container)
        seconds = time.monotonic() - began
        status = docker("inspect", "--format={{.State.ExitCode}}", container).stdout
        log = docker("logs", container).stderr
    assert status == "143\n"
    assert seconds < 2
    assert "Traceback" not in log


def test_without_pytorch_a_training_is_refused() -> None:
    with running("mnistctl:service") as (_, port):
        status, answer = request(port, "POST", "/train")
    assert status == 503
    assert answer == {"error": "training needs PyTorch: build the service with SERVICE_BASE=cpu"}


def test_a_training_needs_a_directory_for_temporary_files() -> None:
    with running("mnistctl:service-cpu") as (_, port):
        status, answer = request(port, "POST", "/train")
    assert status == 503
    assert answer["error"].startswith("training cannot start (")


def test_a_model_that_it_has_trained_is_used(data: Path) -> None:
    flags = ("--tmpfs=/tmp", f"--volume={data}:/data:ro", "--env=MNISTCTL_DATA_DIR=/data")
    with running("mnistctl:service-cpu", *flags) as (_, port):
        assert request(port, "POST", "/train")[0] == 202
        health = until_trained(port)
        assert health["training"] == "finished"
        assert health["model"]["epochs"] == "3"
        assert predict(port, SEVEN)[0] == 200
