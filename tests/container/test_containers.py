"""What the images do, and what they contain."""

import ast
import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from container.engine import Completed, Run, docker, torch_index_answers
from support import names

LOCKED_DOWN = (
    "--user=12345:54321",
    "--read-only",
    "--network=none",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
SIZES = json.loads(Path(__file__).with_name("sizes.json").read_text())


def python(image: str, program: str) -> Completed:
    """Run a Python program in an image."""
    return docker("run", "--rm", "--entrypoint=python", image, "-c", program, check=False)


def inspect(image: str, template: str) -> str:
    """Return what a Go template makes of an image's configuration."""
    return docker("image", "inspect", f"--format={template}", image).stdout.strip()


# predict and validate


def test_predict_prints_the_digit_of_a_mounted_image(image: str, run: Run) -> None:
    assert run(image, "predict", "seven.png").stdout == "7\n"


def test_predict_reads_standard_input(image: str, work: Path) -> None:
    with (work / "seven.png").open("rb") as file:
        result = docker("run", "--rm", "--interactive", image, "predict", "-", stdin=file)
    assert result.stdout == "7\n"


def test_predict_needs_no_rights_no_network_and_256_mb(image: str, run: Run) -> None:
    result = run(image, "predict", "seven.png", flags=(*LOCKED_DOWN, "--memory=256m"))
    assert (result.stdout, result.stderr, result.returncode) == ("7\n", "", 0)


def test_validate_reaches_the_accuracy_that_the_model_records(image: str, run: Run) -> None:
    result = run(image, "validate", "--json", flags=LOCKED_DOWN)
    program = "from mnistctl.classifier import Classifier as C; print(C.load().metadata)"
    recorded = ast.literal_eval(python(image, program).stdout)["test_accuracy"]
    assert json.loads(result.stdout)["accuracy"] == pytest.approx(float(recorded))


def test_a_container_without_arguments_prints_the_help(image: str, run: Run) -> None:
    result = run(image)
    assert "Usage: mnistctl" in result.stdout
    assert (result.stderr, result.returncode) == ("", 0)


# train


@pytest.mark.parametrize("flags", [(), LOCKED_DOWN], ids=["as in the README", "locked down"])
def test_train_writes_one_file_that_belongs_to_the_user(
    training_image: str, flags: tuple[str, ...], run: Run, work: Path, data: Path
) -> None:
    user = "12345:54321" if flags else f"{os.getuid()}:{os.getgid()}"
    flags = (*flags, f"--user={user}", f"--volume={data}:/data:ro")
    result = run(training_image, "train", "--epochs=1", "--data-dir=/data", flags=flags)
    assert result.returncode == 0, result.stderr
    assert names(work) == ["model.onnx", "seven.png"]
    model = (work / "model.onnx").stat()
    assert f"{model.st_uid}:{model.st_gid}" == user
    assert run(training_image, "validate", "--model=model.onnx").returncode == 0


def test_docker_stop_ends_a_training_within_two_seconds_and_keeps_its_checkpoint(
    training_image: str, run: Run, work: Path
) -> None:
    train = ("train", "--epochs=1000", "--checkpoint=checkpoint")
    mount = f"--volume={work}:/work"
    started = docker("run", "--detach", mount, "--user=12345", training_image, *train)
    container = started.stdout.strip()
    try:
        with subprocess.Popen(
            ["docker", "logs", "--follow", container], stderr=subprocess.PIPE, text=True
        ) as logs:
            assert logs.stderr is not None
            assert logs.stderr.readline().startswith("epoch 1/1000")
            (work / "checkpoint").unlink(missing_ok=True)
            began = time.monotonic()
            docker("stop", container)
            seconds = time.monotonic() - began
            rest = logs.stderr.read()
        status = docker("inspect", "--format={{.State.ExitCode}}", container).stdout
    finally:
        docker("rm", "--force", container)
    assert status == "143\n"
    assert seconds < 2
    assert "mnistctl: stopped; resume with: mnistctl train" in rest
    program = """if True:
        from pathlib import Path
        from mnistctl.training import checkpoint
        print(checkpoint.read(Path("checkpoint")).step)
    """
    saved = run(training_image, "-c", program, flags=("--entrypoint=python",))
    assert int(saved.stdout) > 0, saved.stderr


def test_train_without_a_gpu_says_how_to_pass_one(training_image: str, run: Run) -> None:
    result = run(training_image, "train", "--device=cuda")
    assert result.returncode == 1
    assert result.stderr.startswith("mnistctl: --device cuda: ")
    assert result.stderr.count("\n") == 1


# errors


def test_a_directory_that_the_user_cannot_write_is_an_error(
    training_image: str, run: Run, work: Path
) -> None:
    work.chmod(0o755)
    result = run(training_image, "train", flags=("--user=12345",))
    assert result.returncode == 1
    assert result.stderr == "mnistctl: model.onnx: cannot be written: Permission denied.\n"


@pytest.mark.parametrize("directory", ["/tmp", "/work"], ids=["container's", "host's"])
def test_a_file_mounted_by_itself_is_refused_before_training(
    directory: str, run: Run, work: Path
) -> None:
    # On the host's filesystem, /work and the file are the same device.
    (work / "other.onnx").touch()
    output = f"{directory}/model.onnx"
    flags = (f"--volume={work / 'other.onnx'}:{output}", "--user=0")
    result = run("mnistctl:cpu", "train", f"--output={output}", flags=flags)
    assert result.returncode == 1
    assert result.stderr == f"mnistctl: {output}: is mounted by itself: mount its directory.\n"


def test_predict_needs_one_thread_besides_its_own(image: str, run: Run) -> None:
    result = run(image, "predict", "seven.png", flags=("--pids-limit=2",))
    assert (result.stdout, result.stderr, result.returncode) == ("7\n", "", 0)
    result = run(image, "predict", "seven.png", flags=("--pids-limit=1",))
    assert (result.stdout, result.returncode) == ("", 1)
    assert result.stderr == "mnistctl: images cannot be read: can't start new thread.\n"


def test_the_error_for_a_missing_image_names_it(image: str, run: Run) -> None:
    result = run(image, "predict", "missing.png")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("mnistctl: missing.png: ")
    assert result.stderr.count("\n") == 1


def test_standard_input_without_interactive_is_an_error(image: str, run: Run) -> None:
    result = run(image, "predict", "-")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1


def test_an_unknown_command_is_wrong_usage(image: str, run: Run) -> None:
    assert run(image, "guess").returncode == 2


@pytest.mark.usefixtures("images")
def test_train_without_pytorch_says_where_to_get_it(run: Run) -> None:
    result = run("mnistctl:predict", "train")
    assert (result.returncode, result.stdout) == (1, "")
    assert "which is not installed: run pip install '.[train]'" in result.stderr
    assert "use the image mnistctl:cpu or mnistctl:gpu" in result.stderr


# content


@pytest.mark.usefixtures("images")
def test_the_image_for_predictions_has_no_pytorch() -> None:
    assert "No module named 'torch'" in python("mnistctl:predict", "import torch").stderr


@pytest.mark.usefixtures("images")
def test_the_image_for_the_gpu_has_a_cuda_build() -> None:
    result = python("mnistctl:gpu", "import torch; print(torch.cuda._is_compiled())")
    assert result.stdout == "True\n"


@pytest.mark.usefixtures("images")
def test_the_image_for_the_cpu_has_no_cuda_build() -> None:
    if not torch_index_answers():
        pytest.skip("the index of PyTorch's CPU builds cannot be reached: set TORCH_INDEX")
    result = python("mnistctl:cpu", "import torch; print(torch.cuda._is_compiled())")
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
    assert python(image, program).stdout == ""


def test_the_only_programs_are_env_python_and_mnistctl(image: str) -> None:
    program = """if True:
        import os
        for directory in os.environ["PATH"].split(":") + ["/usr/sbin"]:
            if os.path.isdir(directory):
                print(*os.listdir(directory))
    """
    programs = {re.sub(r"[\d.]*$", "", name) for name in python(image, program).stdout.split()}
    assert programs == {"env", "mnistctl", "python"}


def test_debian_packages_are_recorded_with_their_licences(image: str) -> None:
    program = """if True:
        import pathlib
        for record in pathlib.Path("/var/lib/dpkg/status.d").iterdir():
            print(record.read_text())
        print(pathlib.Path("/usr/share/doc/libc6/copyright").read_text())
    """
    output = python(image, program).stdout
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
    version, files, recorded = python(image, program).stdout.splitlines()
    assert (version, files) == ("True", "True")
    assert {"mnistctl", "numpy", "onnxruntime"} <= set(recorded.split())


def test_the_entry_point_is_mnistctl_and_there_is_no_health_check(image: str) -> None:
    assert inspect(image, "{{json .Config.Entrypoint}} {{json .Config.Cmd}}") == '["mnistctl"] null'
    assert inspect(image, "{{json .Config.Healthcheck}}") == "null"


@pytest.mark.parametrize("arguments", [["predict", "seven.png"], ["validate", "--quiet"]], ids=str)
def test_every_imported_module_has_byte_code_that_is_not_checked(
    arguments: list[str], image: str, run: Run
) -> None:
    program = """if True:
        import importlib.util, pathlib, sys
        from mnistctl.cli import main
        main()
        for module in sys.modules.values():
            spec = getattr(module, "__spec__", None)
            if spec and spec.has_location and spec.origin.endswith(".py"):
                bytecode = pathlib.Path(importlib.util.cache_from_source(spec.origin))
                unchecked = b"\\1\\0\\0\\0"  # the flags of PEP 552
                if not bytecode.exists() or bytecode.read_bytes()[4:8] != unchecked:
                    print(spec.origin, file=sys.stderr)
    """
    result = run(image, "-c", program, *arguments, flags=("--entrypoint=python",))
    assert result.stderr == ""
    assert result.stdout


@pytest.mark.parametrize("variant", ["predict", "gpu"])
@pytest.mark.usefixtures("images")
def test_the_layers_are_at_most_2_percent_larger_than_recorded(variant: str) -> None:
    # The layer from the base image is not counted: its size is not ours to keep.
    options = ("--no-trunc", "--format={{.Size}}\t{{.CreatedBy}}", "--human=false")
    history = docker("history", *options, f"mnistctl:{variant}").stdout
    layers = (line.split("\t", 1) for line in history.splitlines())
    own = sum(int(size) for size, command in layers if command.startswith("COPY /opt"))
    assert own <= SIZES[variant] * 1.02
