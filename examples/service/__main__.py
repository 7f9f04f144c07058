"""Run the service: `python examples/service`. Its options and variables are those of uvicorn."""

import signal
import sys

# A container's first process ignores a signal without a handler, and the imports take a while.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

import uvicorn  # noqa: E402

options = ["--no-access-log", "--timeout-graceful-shutdown=1", *sys.argv[1:]]
uvicorn.main(["app:app", f"--app-dir={sys.path[0]}", *options])
