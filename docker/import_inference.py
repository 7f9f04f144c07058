"""Import what predict and validate import, so that Python keeps the byte code of just that.

Byte code of everything installed would take more space than pruning saves.
"""

import concurrent.futures.thread
import gzip
import json
import secrets
import shlex
import tempfile
from pathlib import Path

import numpy.random
import numpy.typing
import onnxruntime
import rich.box
import rich.console
import rich.progress
import rich.table
import typer
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

application = typer.Typer()


@application.command()
def command(path: Path | None = None) -> None:
    """Parse a path."""


# These import modules when they are first used.
Image.init()
rich.console.Console(stderr=True).print(rich.table.Table())
application(["--help"], standalone_mode=False)
application([], standalone_mode=False)
