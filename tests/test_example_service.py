"""The example service, over HTTP."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pytest
from service import FORM, form, predict, request, until_trained
from support import run_program

from mnistctl import Classifier, read_image

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.is_file())
UPLOAD = "send multipart/form-data with one image file, in the field 'image' (curl -F image=@FILE)"
MEGABYTE = bytes(1_000_000)


@dataclass(frozen=True)
class Service:
    """A running service."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]


@contextmanager
def running(log: Path, **environment: str) -> Iterator[Service]:
    """Run the service on a free port."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "examples/service"],
            cwd=ROOT,
            env={**os.environ, "UVICORN_PORT": "0", **environment},
            stderr=output,
        )
    try:
        while not (port := re.search(r"http://127.0.0.1:(\d+)", log.read_text())):
            assert process.poll() is None, log.read_text()
            time.sleep(0.01)
        yield Service(int(port[1]), log, process)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def running_service(
    tmp_path_factory: pytest.TempPathFactory, small_mnist: Path
) -> Iterator[Service]:
    log = tmp_path_factory.mktemp("service") / "log"
    with running(log, MNISTCTL_DATA_DIR=str(small_mnist)) as service:
        yield service


@pytest.fixture
def service(running_service: Service) -> Iterator[Service]:
    """The service, which logs at most a line in each test: bad input is no error of its own."""
    before = len(running_service.log.read_text())
    yield running_service
    assert running_service.log.read_text()[before:].count("\n") <= 1


# how it starts


def test_a_wrong_model_stops_the_start_with_one_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "examples/service"]
    environment = {**os.environ, "MNISTCTL_MODEL": str(tmp_path / "model.onnx")}
    result = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stdout) == (1, "")
    sentence = "cannot be read: No such file or directory."
    assert result.stderr == f"mnistctl: {tmp_path}/model.onnx: {sentence}\n"


# what it answers


def test_health_says_which_model_is_in_use_and_that_none_was_trained(service: Service) -> None:
    expected = {"model": dict(Classifier.load().metadata), "training": "none"}
    assert request(service.port, "GET", "/health") == (200, expected)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_predict_answers_as_the_classifier_does(path: Path, service: Service) -> None:
    (prediction,) = Classifier.load().predict(read_image(path)[None])
    status, answer = predict(service.port, path.read_bytes())
    assert status == 200
    assert answer == json.loads(json.dumps(asdict(prediction)))


def test_validate_evaluates_the_model_on_the_data_set(service: Service) -> None:
    status, answer = request(service.port, "POST", "/validate")
    assert (status, answer.keys()) == (200, {"accuracy", "loss"})
    assert answer["accuracy"] > 0.99


def test_the_openapi_document_has_the_four_requests(service: Service) -> None:
    _, document = request(service.port, "GET", "/openapi.json")
    assert document["paths"].keys() == {"/health", "/predict", "/validate", "/train"}
    fields = document["components"]["schemas"]["Prediction"]["properties"]
    assert fields.keys() == {"digit", "confidence", "probabilities"}


def test_32_clients_get_the_answers_to_their_own_images(service: Service) -> None:
    files = [path.read_bytes() for path in EXAMPLES] * 16
    with ThreadPoolExecutor(32) as clients:
        digits = [
            answer["digit"] for _, answer in clients.map(partial(predict, service.port), files)
        ]
    assert digits == [4, 1, 7, 2] * 16


# bad input


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 422),
        (form(b"7", name="image"), 422),
        (form(b"7", name='picture"; filename="file'), 422),
        (form(b"7")[:-20], 422),
        (form(b"7").removesuffix(b"--limit--\r\n") + form(b"7"), 400),
        (b"seven", 400),
        (form(b"7").replace(b"Disposition", b"Dis\0position"), 400),
    ],
    ids=["nothing", "text", "another field", "no end", "two files", "no boundary", "bad header"],
)
def test_a_form_without_an_image_file_is_refused(
    body: bytes, status: int, service: Service
) -> None:
    answer = request(service.port, "POST", "/predict", body, FORM)
    assert answer == (status, {"error": UPLOAD})


def test_a_body_that_is_no_form_is_refused(service: Service) -> None:
    headers = {"Content-Type": "application/json"}
    answer = request(service.port, "POST", "/predict", b'{"image": 7}', headers)
    assert answer == (422, {"error": UPLOAD})


def test_a_text_file_is_refused(service: Service) -> None:
    status, answer = predict(service.port, b"seven")
    assert status == 422
    assert answer["error"].startswith("image data: is not an image that mnistctl reads (PNG")


def test_an_image_of_16_mb_is_read(service: Service) -> None:
    status, answer = predict(service.port, b"P5 4000 3999 255\n" + 15_996_000 * b"\xff")
    assert (status, answer) == (
        422,
        {"error": "image data: is blank: no digit stands out from the background"},
    )


@pytest.mark.parametrize("headers", [{"Content-Length": "20000200"}, {}], ids=["length", "chunks"])
def test_an_upload_over_16_mb_is_refused(headers: dict[str, str], service: Service) -> None:
    body = form(20 * MEGABYTE).ljust(20_000_200)
    answer = request(service.port, "POST", "/predict", iter([body]), FORM | headers)
    assert answer == (413, {"error": "the upload is larger than 16 MB: scale the image down"})


def test_an_upload_over_16_mb_is_refused_before_its_end(service: Service) -> None:
    with closing(http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)) as connection:
        headers = FORM | {"Content-Length": str(10**12)}
        connection.request("POST", "/predict", form(17 * MEGABYTE)[:-13], headers)
        assert connection.getresponse().status == 413


@pytest.mark.parametrize(
    ("method", "path", "status"), [("GET", "/images", 404), ("GET", "/predict", 405)]
)
def test_an_unknown_request_is_refused(
    method: str, path: str, status: int, service: Service
) -> None:
    expected = {"error": f"{method} {path} does not exist: see /docs"}
    assert request(service.port, method, path) == (status, expected)


@pytest.mark.parametrize("body", [b"", b"--lim", form(MEGABYTE)[:-20]], ids=len)
def test_an_upload_that_is_cut_off_disturbs_no_other(body: bytes, service: Service) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: service\r\nContent-Length: 2000000\r\n"
    with socket.create_connection(("127.0.0.1", service.port)) as connection:
        connection.sendall(head + f"Content-Type: {FORM['Content-Type']}\r\n\r\n".encode() + body)
    assert request(service.port, "GET", "/health")[0] == 200


def test_validate_without_a_data_set_is_refused(tmp_path: Path) -> None:
    with running(tmp_path / "log", MNISTCTL_DATA_DIR=f"{tmp_path}/data") as service:
        answer = request(service.port, "POST", "/validate")
    assert answer == (422, {"error": f"{tmp_path}/data: is not a directory with a data set"})


# train


def test_a_training_that_has_finished_gives_the_model_in_use(
    tmp_path: Path, small_mnist: Path
) -> None:
    with running(tmp_path / "log", MNISTCTL_DATA_DIR=str(small_mnist)) as service:
        assert request(service.port, "POST", "/train") == (202, {"training": "running"})
        health = until_trained(service.port)
    assert health["training"] == "finished"
    assert health["model"]["epochs"] == "3"
    assert health["model"] != Classifier.load().metadata


def test_a_second_training_at_the_same_time_is_refused(tmp_path: Path) -> None:
    with running(tmp_path / "log") as service:
        request(service.port, "POST", "/train")
        answer = request(service.port, "POST", "/train")
    expected = "a training is running: GET /health says when it has finished"
    assert answer == (409, {"error": expected})


def test_a_training_that_fails_says_why(tmp_path: Path) -> None:
    with running(tmp_path / "log", MNISTCTL_DATA_DIR=f"{tmp_path}/data") as service:
        request(service.port, "POST", "/train")
        health = until_trained(service.port)
    error = f"mnistctl: {tmp_path}/data: is not a directory with a data set."
    assert health["training"] == f"failed: {error}"


@pytest.mark.skipif(sys.platform != "linux", reason="/proc lists the processes of a process")
def test_a_training_that_is_killed_says_so(tmp_path: Path) -> None:
    with running(tmp_path / "log") as service:
        request(service.port, "POST", "/train")
        pid = service.process.pid
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        os.kill(int(children), signal.SIGKILL)
        health = until_trained(service.port)
    assert health["training"] == "failed: exit status -9"


def test_a_training_that_leaves_no_model_says_so(tmp_path: Path) -> None:
    program = f"""
import subprocess, sys, tempfile
sys.path.insert(0, {str(ROOT / "examples/service")!r})
import app
process = subprocess.Popen([sys.executable, "-c", ""], stderr=subprocess.PIPE, text=True)
app.finish_training(process, tempfile.TemporaryDirectory())
print(app.app.state.training)
"""
    state = run_program(program, tmp_path).stdout
    assert state.startswith("failed: ")
    assert "model.onnx: cannot be read: No such file or directory" in state


def test_a_stop_ends_a_training_and_an_open_upload(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    head = b"POST /predict HTTP/1.1\r\nHost: service\r\nContent-Length: 9\r\n\r\n"
    with running(tmp_path / "log", TMPDIR=str(temporary)) as service:
        request(service.port, "POST", "/train")
        with socket.create_connection(("127.0.0.1", service.port)) as upload:
            upload.sendall(head)
            service.process.terminate()
            assert service.process.wait(timeout=10) == 143
    assert list(temporary.iterdir()) == []
    assert "Traceback" not in service.log.read_text()
