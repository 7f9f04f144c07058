"""Compile the extension as the talk does: against PyTorch's headers."""

from setuptools import setup
from torch.utils.cpp_extension import BuildExtension, CppExtension

setup(
    name="argmax",
    packages=[],
    ext_modules=[CppExtension("mnistctl._core", ["argmax.cpp"])],
    cmdclass={"build_ext": BuildExtension.with_options(use_ninja=False)},
)
