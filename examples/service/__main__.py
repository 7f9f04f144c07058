"""Run the service: `python examples/service`. HOST and PORT say where it listens."""

import os
import signal

# A container's first process ignores a signal without a handler, and the imports take a while.
signal.signal(signal.SIGTERM, lambda *_: os._exit(143))

import uvicorn  # noqa: E402
from app import app  # noqa: E402

host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
uvicorn.run(app, host=host, port=port, access_log=False, timeout_graceful_shutdown=1)
