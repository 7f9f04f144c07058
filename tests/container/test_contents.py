"""What the images contain."""

import json
import re
from pathlib import Path

import pytest
from container.engine import ROOT, Run, docker, inspect, run_python, torch_index_answers

SIZES = json.loads(Path(__file__).with_name("sizes.json").read_text())


@pytest.mark.usefixtures("images")
def test_the_image_for_predictions_has_no_pytorch() -> None:
    assert "No module named 'torch'" in run_python("mnistctl:predict", "import torch").stderr


@pytest.mark.usefixtures("images")
def test_the_image_for_the_gpu_has_a_cuda_build() -> None:
    result = run_python("mnistctl:gpu", "import torch; print(torch.cuda._is_compiled())")
    assert result.stdout == "True\n"


@pytest.mark.usefixtures("images")
def test_the_image_for_the_cpu_has_no_cuda_build() -> None:
    if not torch_index_answers():
        pytest.skip("the index of PyTorch's CPU builds cannot be reached: set TORCH_INDEX")
    result = run_python("mnistctl:cpu", "import torch; print(torch.cuda._is_compiled())")
    assert result.stdout == "False\n"


def test_the_user_is_numeric_and_can_write_no_file_of_the_image(image: str) -> None:
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


def test_the_only_programs_are_env_python_and_mnistctl(image: str) -> None:
    program = """if True:
        import os
        for directory in os.environ["PATH"].split(":") + ["/usr/sbin"]:
            if os.path.isdir(directory):
                print(*os.listdir(directory))
    """
    programs = {re.sub(r"[\d.]*$", "", name) for name in run_python(image, program).stdout.split()}
    assert programs == {"env", "mnistctl", "python"}


def test_debian_packages_are_recorded_with_their_licences(image: str) -> None:
    program = """if True:
        import pathlib
        for record in pathlib.Path("/var/lib/dpkg/status.d").iterdir():
            print(record.read_text())
        print(pathlib.Path("/usr/share/doc/libc6/copyright").read_text())
    """
    output = run_python(image, program).stdout
    assert "Package: libc6\nStatus: install ok installed\n" in output
    assert "Package: libstdc++6\n" in output
    assert "GNU Lesser General Public License" in output


def test_python_packages_are_recorded_mnistctl_included(image: str) -> None:
    program = """if True:
        import mnistctl
        from importlib import metadata
        mnistctl_files = metadata.files("mnistctl")
        print(metadata.version("mnistctl") == mnistctl.__version__)
        print(all(file.locate().is_file() for file in mnistctl_files))
        print(*(each.name for each in metadata.distributions()))
    """
    version, files, recorded = run_python(image, program).stdout.splitlines()
    assert (version, files) == ("True", "True")
    assert {"mnistctl", "numpy", "onnxruntime"} <= set(recorded.split())


def test_every_file_belongs_to_a_package_of_the_sbom(image: str) -> None:
    with (ROOT / "docker/sbom.py").open("rb") as program:
        flags = ("--rm", "--interactive", "--entrypoint=python")
        result = docker("run", *flags, image, "-", stdin=program, check=False)
    assert result.returncode == 0, result.stderr
    names = {package["name"] for package in json.loads(result.stdout)["packages"]}
    assert {"python", "mnistctl", "numpy", "libc6"} <= names


def test_the_entry_point_is_mnistctl_and_there_is_no_health_check(image: str) -> None:
    assert inspect(image, "{{json .Config.Entrypoint}} {{json .Config.Cmd}}") == '["mnistctl"] null'
    assert inspect(image, "{{json .Config.Healthcheck}}") == "null"


# Runs a command line, then names the imported modules whose byte code is missing or is checked
# against its source (PEP 552 has the flags).
NAME_UNCOMPILED = """if True:
    import importlib.util, pathlib, sys
    from {module} import main
    main()
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        if spec and spec.has_location and spec.origin.endswith(".py"):
            bytecode = pathlib.Path(importlib.util.cache_from_source(spec.origin))
            if not bytecode.exists() or bytecode.read_bytes()[4:8] != b"\\1\\0\\0\\0":
                print("uncompiled", spec.origin)
"""


@pytest.mark.parametrize("arguments", [("predict", "seven.png"), ("validate",)], ids=" ".join)
def test_python_compiles_no_module_to_predict_and_validate(
    arguments: tuple[str, ...], image: str, run: Run
) -> None:
    program = NAME_UNCOMPILED.format(module="mnistctl.cli")
    result = run(image, "-c", program, *arguments, flags=("--entrypoint=python",))
    assert result.returncode == 0, result.stderr
    assert "uncompiled" not in result.stdout


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("mnistctl.cli", ("train", "--epochs=1", "--data-dir=/data", "--checkpoint=checkpoint")),
        ("torch.distributed.run", ("--standalone", "-m", "mnistctl", "--version")),
    ],
    ids=["mnistctl", "torchrun"],
)
def test_python_compiles_no_module_of_pytorch_s_layer_to_train(
    training_image: str, run: Run, data: Path, module: str, command: tuple[str, ...]
) -> None:
    # In the layer of predict it compiles what only train imports. That takes 25 ms.
    shared = r"/(?:google|numpy|PIL|python3\.\d+)/"
    flags = ("--entrypoint=python", f"--volume={data}:/data:ro", "--user=0")
    result = run(training_image, "-c", NAME_UNCOMPILED.format(module=module), *command, flags=flags)
    assert result.returncode == 0, result.stderr
    uncompiled = re.findall(r"^uncompiled (.*)", result.stdout, re.M)
    assert [path for path in uncompiled if not re.search(shared, path)] == []


# Asks the dynamic loader for the libraries that each extension and library links to.
NAME_MISSING_LIBRARIES = """if True:
    import glob, os, pathlib, subprocess
    loader = glob.glob("/lib*/ld-linux-*.so.*")[0]
    found = [path for path in ("/usr", "/opt") for path in pathlib.Path(path).rglob("*.so*")]
    for path in found:
        if path.is_file() and not path.is_symlink() and path.read_bytes()[:4] == b"\\x7fELF":
            linked = subprocess.run([loader, "--list", path], capture_output=True, text=True)
            if "not found" in linked.stdout:
                print(path, linked.stdout)
"""


@pytest.mark.parametrize("variant", ["predict", "cpu"])
@pytest.mark.usefixtures("images")
def test_every_library_that_is_linked_to_is_there(variant: str) -> None:
    result = run_python(f"mnistctl:{variant}", NAME_MISSING_LIBRARIES)
    assert (result.stdout, result.stderr) == ("", "")


@pytest.mark.parametrize("variant", ["predict", "gpu"])
@pytest.mark.usefixtures("images")
def test_the_layers_are_at_most_2_percent_larger_than_recorded(variant: str) -> None:
    # The layer from the base image is not counted: its size is not ours to keep.
    options = ("--no-trunc", "--format={{.Size}}\t{{.CreatedBy}}", "--human=false")
    history = docker("history", *options, f"mnistctl:{variant}").stdout
    layers = (line.split("\t", 1) for line in history.splitlines())
    own = sum(int(size) for size, command in layers if command.startswith("COPY /opt"))
    assert own <= SIZES[variant] * 1.02
