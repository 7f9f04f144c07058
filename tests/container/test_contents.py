"""What an image contains."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from container.engine import ROOT, Run, docker, inspect, run_python, torch_index_answers

SIZES: dict[str, int] = json.loads(Path(__file__).with_name("sizes.json").read_text())


@pytest.mark.usefixtures("images")
def test_the_image_for_predictions_contains_no_pytorch() -> None:
    assert "No module named 'torch'" in run_python("mnistctl:predict", "import torch").stderr


@pytest.mark.usefixtures("images")
def test_the_image_for_the_gpu_contains_a_cuda_build() -> None:
    compiled = run_python("mnistctl:gpu", "import torch; print(torch.cuda._is_compiled())")
    assert compiled.stdout == "True\n"


@pytest.mark.usefixtures("images")
def test_the_image_for_the_cpu_contains_no_cuda_build() -> None:
    if not torch_index_answers():
        pytest.skip("PyTorch's index of CPU builds cannot be reached: set TORCH_INDEX")
    compiled = run_python("mnistctl:cpu", "import torch; print(torch.cuda._is_compiled())")
    assert compiled.stdout == "False\n"


def test_it_contains_the_metadata_of_mnistctl(image: str) -> None:
    program = """if True:
        import importlib.metadata
        import mnistctl
        distribution = importlib.metadata.distribution("mnistctl")
        assert distribution.version == mnistctl.__version__
        assert all(file.locate().is_file() for file in distribution.files)
        print(*(entry.value for entry in distribution.entry_points))
        print(distribution.read_text("licenses/LICENSE"), end="")
    """
    entry_point, _, licence = run_python(image, program).stdout.partition("\n")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert entry_point == project["scripts"]["mnistctl"]
    assert licence == (ROOT / "LICENSE").read_text()


def test_its_user_is_a_number_and_cannot_write_its_files(image: str) -> None:
    user, _, group = inspect(image, "{{.Config.User}}").partition(":")
    assert int(user) > 0
    assert int(group) > 0
    program = """if True:
        import os
        for directory, directories, files in os.walk("/"):
            if directory == "/":
                directories[:] = set(directories) - {"dev", "proc", "sys", "tmp"}
            for name in directories + files:
                path = os.path.join(directory, name)
                if not os.path.islink(path):
                    if os.access(path, os.W_OK) or os.stat(path).st_uid:
                        print(path)
    """
    assert run_python(image, program).stdout == ""


def test_its_only_programs_are_python_env_and_mnistctl(image: str) -> None:
    program = """if True:
        import os
        for directory in os.environ["PATH"].split(":") + ["/usr/sbin"]:
            if os.path.isdir(directory):
                print(*os.listdir(directory))
    """
    programs = run_python(image, program).stdout.split()
    assert {re.sub(r"[\d.]*$", "", name) for name in programs} == {"env", "mnistctl", "python"}


def test_it_has_the_record_and_licence_of_each_debian_package(image: str) -> None:
    program = """if True:
        import pathlib
        for record in pathlib.Path("/var/lib/dpkg/status.d").iterdir():
            print(record.read_text())
        print(pathlib.Path("/usr/share/doc/libc6/copyright").read_text())
    """
    recorded = run_python(image, program).stdout
    assert "Package: libc6\nStatus: install ok installed\n" in recorded
    assert "Package: libstdc++6\n" in recorded
    assert "GNU Lesser General Public License" in recorded


def test_its_entry_point_is_mnistctl_and_it_has_no_health_check(image: str) -> None:
    assert inspect(image, "{{json .Config.Entrypoint}} {{json .Config.Cmd}}") == '["mnistctl"] null'
    assert inspect(image, "{{json .Config.Healthcheck}}") == "null"


# Prints the imported modules without byte code that Python uses unchecked (flags of PEP 552).
PRINT_UNCOMPILED = """if True:
    import importlib.util, pathlib, sys
    from mnistctl.cli import main
    sys.argv[0] = "mnistctl"
    try:
        main()
    finally:
        for module in list(sys.modules.values()):
            spec = getattr(module, "__spec__", None)
            if spec and spec.has_location and spec.origin.endswith(".py"):
                compiled = pathlib.Path(importlib.util.cache_from_source(spec.origin))
                if not compiled.exists() or compiled.read_bytes()[4:8] != b"\\1\\0\\0\\0":
                    print(spec.origin)
"""


def test_it_has_the_byte_code_of_every_module_that_predict_imports(image: str, run: Run) -> None:
    flags = ("--entrypoint=python",)
    result = run(image, "-c", PRINT_UNCOMPILED, "predict", "seven.png", flags=flags)
    assert result.stdout == "7\n"


def test_it_has_the_byte_code_of_every_pytorch_module_that_train_imports(
    training_image: str, run: Run, data: Path
) -> None:
    flags = ("--entrypoint=python", f"--volume={data}:/data:ro", "--user=0")
    arguments = ("train", "--epochs=1", "--data-dir=/data", "--checkpoint=checkpoint")
    result = run(training_image, "-c", PRINT_UNCOMPILED, *arguments, flags=flags)
    assert result.returncode == 0, result.stderr
    assert not re.findall(r".*/(?:torch|torchvision|onnx|safetensors)/.*", result.stdout)


@pytest.mark.parametrize("variant", ["predict", "gpu"])
@pytest.mark.usefixtures("images")
def test_its_layers_are_not_larger_than_on_record(variant: str) -> None:
    # Without the lowest layer, whose size depends on the base.
    command = ("history", "--no-trunc", "--human=false", "--format={{.Size}}\t{{.CreatedBy}}")
    history = docker(*command, f"mnistctl:{variant}").stdout
    size = sum(
        int(size)
        for size, command in (line.split("\t", 1) for line in history.splitlines())
        if command.startswith("COPY /opt")
    )
    assert size <= SIZES[variant] * 1.02
