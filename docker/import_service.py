"""Answer requests with FastAPI and uvicorn, so that Python keeps the byte code of just that.

Byte code of everything installed would take twice the space.
"""

import asyncio
import asyncio.subprocess
import http.client
import subprocess
import sys
import tempfile

import uvicorn
from fastapi import FastAPI, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

FORM = {"Content-Type": "multipart/form-data; boundary=x"}
FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\nx\r\n--x--\r\n'

app = FastAPI()


@app.post("/")
def read(file: UploadFile) -> dict[str, int]:
    """Return the size of an upload."""
    return {"size": len(file.file.read())}


@app.exception_handler(RequestValidationError)
async def answer(_request: Request, _error: RequestValidationError) -> JSONResponse:
    """Answer a request without an upload."""
    return JSONResponse({}, 422)


def request(method: str, path: str, body: bytes = b"") -> int:
    """Send a request and return the status of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", 8000)
    connection.request(method, path, body, FORM)
    return connection.getresponse().status


async def main() -> None:
    """Start the server, send it requests, and stop it."""
    server = uvicorn.Server(uvicorn.Config(app, port=8000))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    for method, path, body, status in (
        ("POST", "/", FILE, 200),
        ("POST", "/", b"", 422),
        ("GET", "/docs", b"", 200),
        ("GET", "/openapi.json", b"", 200),
    ):
        answer = await asyncio.to_thread(request, method, path, body)
        if answer != status:
            sys.exit(f"{method} {path} was answered with {answer}")
    server.should_exit = True
    await serving


if __name__ == "__main__":
    asyncio.run(main())
