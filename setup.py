"""Compile the extension module, which pyproject.toml alone cannot declare."""

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


setup(
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
