"""The marking of byte code as valid without a check."""

import importlib.util
import os
import py_compile
import subprocess
import sys
from pathlib import Path

import pytest
import trust_bytecode


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """A module whose byte code is older than its source."""
    module = tmp_path / "module.py"
    module.write_text("print('compiled')\n")
    py_compile.compile(str(module), invalidation_mode=py_compile.PycInvalidationMode.TIMESTAMP)
    module.write_text("print('source')\n")
    os.utime(module, (0, 0))
    return module


def imported(module: Path) -> str:
    """Return what importing a module prints."""
    command = [sys.executable, "-B", "-c", "import module"]
    environment = {"PYTHONPATH": str(module.parent)}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout


def test_python_ignores_byte_code_of_another_date(module: Path) -> None:
    assert imported(module) == "source\n"


def test_python_uses_trusted_byte_code_whatever_the_date(module: Path) -> None:
    trust_bytecode.main(module.parent)
    assert imported(module) == "compiled\n"


def test_byte_code_of_the_build_image_s_own_packages_is_deleted(tmp_path: Path) -> None:
    bytecode = tmp_path / "site-packages" / "pip.pyc"
    bytecode.parent.mkdir()
    bytecode.touch()
    trust_bytecode.main(tmp_path)
    assert not bytecode.exists()


def test_trusted_byte_code_equals_what_compileall_writes(module: Path) -> None:
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    by_date = py_compile.compile(str(module), cfile=str(module.with_name("by_date.pyc")))
    by_hash = py_compile.compile(
        str(module), cfile=str(module.with_name("by_hash.pyc")), invalidation_mode=unchecked
    )
    assert by_date
    assert by_hash
    trusted = trust_bytecode.trusted(Path(by_date).read_bytes())
    # The hash that follows the flags is not read.
    assert trusted[:8] == Path(by_hash).read_bytes()[:8]
    assert trusted[16:] == Path(by_hash).read_bytes()[16:]
    assert trusted[:4] == importlib.util.MAGIC_NUMBER
