"""Declare what pyproject.toml cannot: the extension module, and links that work on an index."""

import re
import tomllib
from pathlib import Path

from pybind11.setup_helpers import Pybind11Extension, build_ext
from setuptools import setup
from setuptools.errors import CompileError


class BuildExtension(build_ext):
    """Compile the extension, and say in one sentence what is missing when that fails."""

    def build_extension(self, extension: Pybind11Extension) -> None:
        """Compile one extension module."""
        try:
            super().build_extension(extension)
        except CompileError as error:
            raise CompileError(
                f"mnistctl._core could not be compiled ({error}): install a C++17 compiler "
                "and Python's headers (Debian: apt install g++ python3-dev; macOS: "
                "xcode-select --install), then try again."
            ) from error


def description() -> str | None:
    """Return README.md with absolute links, because an index shows it outside the repository."""
    if not Path("README.md").exists():  # the Dockerfile's stage that only compiles
        return None
    project = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
    url = project["urls"]["Repository"]
    text = Path("README.md").read_text(encoding="utf-8")
    text = re.sub(r"(!\[[^]]*\]\()(?!https?:)", rf"\1{url}/raw/HEAD/", text)
    return re.sub(r"((?<!!)\[[^]]*\]\()(?!https?:|#)", rf"\1{url}/blob/HEAD/", text)


setup(
    long_description=description(),
    long_description_content_type="text/markdown",
    ext_modules=[
        Pybind11Extension(
            "mnistctl._core",
            ["csrc/argmax.cpp"],
            cxx_std=17,
            # As fast as with -O2, and compiled in three quarters of the time: most of what is
            # optimized is pybind11's.
            extra_compile_args=["-O1"],
        )
    ],
    cmdclass={"build_ext": BuildExtension},
)
