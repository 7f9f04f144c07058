"""Classify images of digits, evaluate the model, and train another one in the background."""

import asyncio
import atexit
import os
import sys
from importlib.util import find_spec
from subprocess import PIPE, Popen
from tempfile import TemporaryDirectory
from threading import Thread

from fastapi import FastAPI, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mnistctl import Classifier, MnistctlError, Prediction, evaluate, load_dataset, read_image

MAX_BODY = 16_000_000 + 64_000  # the largest file that read_image reads, and what multipart adds
MultiPartParser.spool_max_size = MAX_BODY  # an upload stays in memory
UPLOAD = "send multipart/form-data with one image file, in the field 'image' (curl -F image=@FILE)"


def limit_body(app: ASGIApp) -> ASGIApp:
    """Stop reading a body that is too large. FastAPI's max_body_size does not answer in JSON."""

    async def limited(scope: Scope, receive: Receive, send: Send) -> None:
        size = 0

        async def count() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > MAX_BODY:
                raise HTTPException(413, "the upload is larger than 16 MB: scale the image down")
            return message

        await app(scope, count, send)

    return limited


app = FastAPI(title="mnistctl", description=__doc__, form_limits={"max_files": 1})
app.add_middleware(limit_body)
app.state.training, app.state.validating = "none", asyncio.Lock()
try:
    app.state.classifier = Classifier.load(os.environ.get("MNISTCTL_MODEL") or None)
except MnistctlError as error:
    sys.exit(f"mnistctl: {error}.")


@app.exception_handler(HTTPException)
@app.exception_handler(MnistctlError)
@app.exception_handler(RequestValidationError)
async def answer(request: Request, error: Exception) -> JSONResponse:
    """Answer bad input with one sentence."""
    if not isinstance(error, HTTPException):
        return JSONResponse({"error": str(error) if type(error) is MnistctlError else UPLOAD}, 422)
    missing = f"{request.method} {request.url.path} does not exist: see /docs"
    sentence = {400: UPLOAD, 404: missing, 405: missing}.get(error.status_code, error.detail)
    return JSONResponse({"error": sentence}, error.status_code, error.headers)


@app.get("/health")
async def health() -> dict[str, object]:
    """Say which model is in use, and how the last training went."""
    return {"model": app.state.classifier.metadata, "training": app.state.training}


@app.post("/predict")
def predict(image: UploadFile) -> Prediction:
    """Classify an image file."""
    classifier: Classifier = app.state.classifier
    return classifier.predict(read_image(image.file)[None])[0]


@app.post("/validate")
async def validate() -> dict[str, float]:
    """Evaluate the model on the test set. Requests wait for each other."""
    async with app.state.validating:
        directory = os.environ.get("MNISTCTL_DATA_DIR") or None
        test = await asyncio.to_thread(load_dataset, "test", directory)
        report = await asyncio.to_thread(evaluate, app.state.classifier, test)
    return {"accuracy": report.accuracy, "loss": report.loss}


@app.post("/train", status_code=202)
async def train() -> dict[str, str]:
    """Start a training. When it has finished, the service predicts with the new model."""
    if not find_spec("torch"):
        raise HTTPException(503, "training needs PyTorch: build the service with SERVICE_BASE=cpu")
    if app.state.training == "running":
        raise HTTPException(409, "a training is running: GET /health says when it has finished")
    try:
        folder = TemporaryDirectory()
        arguments = ["-m", "mnistctl", "train", "-q", "-o", f"{folder.name}/model.onnx"]
        process = Popen([sys.executable, *arguments], stdout=PIPE, stderr=PIPE, text=True)
    except OSError as error:
        needs = "it needs memory, and a directory for temporary files"
        raise HTTPException(503, f"training cannot start ({error.strerror}): {needs}") from error
    atexit.register(process.kill)
    app.state.training = "running"
    Thread(target=finish_training, args=[process, folder], daemon=True).start()
    return {"training": "running"}


def finish_training(process: Popen[str], folder: TemporaryDirectory[str]) -> None:
    """Wait for the end of the training, and use its model."""
    try:
        with folder:
            errors = process.communicate()[1].strip()
            if process.returncode:
                raise MnistctlError(errors or f"exit status {process.returncode}")
            app.state.classifier = Classifier.load(f"{folder.name}/model.onnx")
        app.state.training = "finished"
    except (MnistctlError, OSError) as error:
        app.state.training = f"failed: {error}"
    atexit.unregister(process.kill)
