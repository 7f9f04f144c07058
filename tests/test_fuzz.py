import subprocess
import sys
from pathlib import Path
from random import Random

import numpy as np
import onnx
import pytest
from safetensors.numpy import save_file

from mnistctl.classifier import BUNDLED, Classifier
from mnistctl.errors import MnistctlError
from mnistctl.training import checkpoint

ROOT = Path(__file__).parents[1]

# Replaces what the fuzzer does with images by a function of the case's random number.
BROKEN = """
import os, sys, time
from mnistctl.errors import MnistctlError
from tests import fuzz

def case(rng):
    if rng.random() < 0.2:
        {fault}

fuzz.CASE_SECONDS = 0.5
fuzz.CHUNK = 7
fuzz.KINDS = {{"images": lambda _directory: case}}
sys.exit(fuzz.main(sys.argv[1:]))
"""
CASES = 30
FAULTY = [n for n in range(CASES) if Random(f"7/images/{n}").random() < 0.2]


def run_python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_damaged_files_are_read_or_refused_in_one_sentence() -> None:
    counts = ("--models=200", "--checkpoints=100", "--datasets=200", "--images=500")
    run = run_python("-m", "tests.fuzz", "--jobs=2", *counts)
    assert run.returncode == 0, run.stdout + run.stderr
    rows = [line.split() for line in run.stdout.splitlines()[1:5]]
    assert [row[:2] for row in rows] == [
        ["checkpoints", "100"], ["models", "200"], ["datasets", "200"], ["images", "500"]
    ]  # fmt: skip
    for _, _, accepted, refused, failed in rows:
        assert int(accepted) > 0
        assert int(refused) > 0
        assert int(failed) == 0


@pytest.mark.parametrize(
    ("fault", "report"),
    [
        ("raise ValueError('odd')", "raised ValueError('odd')"),
        ("raise MnistctlError('two\\nlines')", "gave a message of 9 characters"),
        ("raise MnistctlError('x' * 5000)", "gave a message of 5000 characters"),
        ("os.write(1, b'noise')", "printed b'noise'"),
        ("print('noise', file=sys.stderr)", "printed b'noise"),
        pytest.param(
            "bytearray(8 * 2**30)",
            "raised MemoryError()",
            marks=pytest.mark.skipif(sys.platform != "linux", reason="memory is limited on Linux"),
        ),
        ("os.abort()", "ended the process (SIGABRT)"),
        ("os._exit(3)", "ended the process (status 3)"),
        ("time.sleep(60)", "took longer than 0.5 seconds"),
    ],
    ids=["exception", "lines", "length", "stdout", "stderr", "memory", "crash", "exit", "hang"],
)
def test_failure_is_reported_with_its_case(fault: str, report: str) -> None:
    run = run_python("-c", BROKEN.format(fault=fault), "--seed=7", f"--images={CASES}", "--jobs=3")
    assert run.returncode == 1, run.stderr
    failures = [line for line in run.stdout.splitlines() if line.startswith("images ")][:-1]
    assert [int(line.split()[1]) for line in failures] == FAULTY
    assert all(report in line for line in failures)
    assert all(f"  python -m tests.fuzz --seed 7 --only images:{n}" in run.stdout for n in FAULTY)


def test_failure_can_be_repeated_by_its_number() -> None:
    broken = BROKEN.format(fault="raise ValueError('odd')")
    repeated = run_python("-c", broken, "--seed=7", f"--only=images:{FAULTY[0]}")
    assert repeated.stderr.endswith("ValueError: odd\n")
    sound = next(number for number in range(CASES) if number not in FAULTY)
    assert run_python("-c", broken, "--seed=7", f"--only=images:{sound}").returncode == 0


def test_error_about_a_long_shape_is_short() -> None:
    model = onnx.load(BUNDLED)
    model.graph.input[0].type.tensor_type.shape.dim[3].dim_param = "x" * 5000
    with pytest.raises(MnistctlError, match="is not a digit classifier") as refused:
        Classifier(model.SerializeToString(), "model")
    assert len(str(refused.value)) < 500


def test_error_about_a_long_version_is_short(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    save_file({"x": np.zeros(1)}, path, {"mnistctl": "9" * 5000})
    with pytest.raises(MnistctlError, match="was written by mnistctl 999") as refused:
        checkpoint.read(path)
    assert len(str(refused.value)) < 500
