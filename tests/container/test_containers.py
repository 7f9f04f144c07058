"""What the images do, and how little they need for it."""

import ast
import json
import os
import re
import subprocess
import time
from pathlib import Path

import pytest
from engine import Completed, Run, build_argument, docker, torch_index_answers

HARDENED = (
    "--user=12345:54321",
    "--read-only",
    "--network=none",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)
SIZES = json.loads(Path(__file__).with_name("sizes.json").read_text())


def python(image: str, program: str) -> Completed:
    return docker("run", "--rm", "--entrypoint=python", image, "-c", program, check=False)


def inspect(image: str, template: str) -> str:
    return docker("image", "inspect", f"--format={template}", image).stdout.strip()


# predict and validate


def test_predict_prints_the_digit_of_a_mounted_picture(image: str, run: Run) -> None:
    assert run(image, "predict", "seven.png").stdout == "7\n"


def test_predict_reads_standard_input(image: str, work: Path) -> None:
    with (work / "seven.png").open("rb") as picture:
        result = docker("run", "--rm", "--interactive", image, "predict", "-", stdin=picture)
    assert result.stdout == "7\n"


def test_predict_needs_no_rights_no_network_and_little_memory(image: str, run: Run) -> None:
    result = run(image, "predict", "seven.png", flags=(*HARDENED, "--memory=256m"))
    assert (result.stdout, result.stderr, result.returncode) == ("7\n", "", 0)


def test_validate_gets_the_accuracy_that_the_bundled_model_was_shipped_with(
    image: str, run: Run
) -> None:
    result = run(image, "validate", "--json", flags=HARDENED)
    program = "from mnistctl.classifier import Classifier as C; print(C.load().metadata)"
    shipped = ast.literal_eval(python(image, program).stdout)["test_accuracy"]
    assert json.loads(result.stdout)["accuracy"] == pytest.approx(float(shipped))


# train


@pytest.mark.parametrize("flags", [(), HARDENED], ids=["as the README has it", "hardened"])
def test_train_leaves_one_file_that_its_caller_owns(
    training_image: str, flags: tuple[str, ...], run: Run, work: Path, data: Path
) -> None:
    user = "12345:54321" if flags else f"{os.getuid()}:{os.getgid()}"
    flags = (*flags, f"--user={user}", f"--volume={data}:/data:ro")
    result = run(training_image, "train", "--epochs=1", "--data-dir=/data", flags=flags)
    assert result.returncode == 0, result.stderr
    assert sorted(path.name for path in work.iterdir()) == ["model.onnx", "seven.png"]
    model = (work / "model.onnx").stat()
    assert f"{model.st_uid}:{model.st_gid}" == user
    assert run(training_image, "validate", "--model=model.onnx").returncode == 0


def test_docker_stop_ends_a_training_within_two_seconds_and_keeps_its_checkpoint(
    training_image: str, run: Run, work: Path
) -> None:
    train = ("train", "--epochs=1000", "--checkpoint=checkpoint")
    container = docker(
        "run", "--detach", f"--volume={work}:/work", "--user=12345", training_image, *train
    ).stdout.strip()
    try:
        with subprocess.Popen(
            ["docker", "logs", "--follow", container], stderr=subprocess.PIPE, text=True
        ) as logs:
            assert logs.stderr is not None
            assert logs.stderr.readline().startswith("epoch 1/")
            (work / "checkpoint").unlink(missing_ok=True)
            began = time.monotonic()
            docker("stop", container)
            took = time.monotonic() - began
        state = docker("inspect", "--format={{.State.ExitCode}}", container).stdout.strip()
    finally:
        docker("rm", "--force", container)
    assert state == "143"
    assert took < 2
    done = "import torch; print(torch.load('/work/checkpoint')['done'])"
    saved = run(training_image, "-c", done, flags=("--entrypoint=python",))
    assert int(saved.stdout) > 0, saved.stderr


def test_train_on_a_gpu_that_the_container_was_not_given_says_how(
    training_image: str, run: Run
) -> None:
    result = run(training_image, "train", "--device=cuda")
    assert result.returncode == 1
    assert result.stderr.startswith("mnistctl: --device cuda: ")
    assert result.stderr.count("\n") == 1


# what bad input gets: mnistctl's own sentences and exit statuses


def test_a_directory_that_may_not_be_written_is_named(
    training_image: str, run: Run, work: Path
) -> None:
    work.chmod(0o755)
    result = run(training_image, "train", flags=("--user=12345",))
    assert result.returncode == 1
    assert result.stderr == "mnistctl: model.onnx: cannot be written: Permission denied.\n"


def test_a_file_that_is_mounted_by_itself_is_refused_before_training(
    training_image: str, run: Run, work: Path
) -> None:
    (work / "model.onnx").touch()
    mounted = f"--volume={work / 'model.onnx'}:/tmp/model.onnx"
    result = run(training_image, "train", "--output=/tmp/model.onnx", flags=(mounted, "--user=0"))
    assert result.returncode == 1
    assert result.stderr.startswith("mnistctl: /tmp/model.onnx: is mounted by itself: ")


@pytest.mark.parametrize("limit", [2, 3])
def test_fewer_threads_than_decode_are_an_answer_or_an_error(
    limit: int, image: str, run: Run
) -> None:
    result = run(image, "predict", "seven.png", flags=(f"--pids-limit={limit}",))
    if result.returncode == 0:
        assert (result.stdout, result.stderr) == ("7\n", "")
    else:
        assert result.stderr == "mnistctl: pictures cannot be read: can't start new thread.\n"


def test_a_picture_that_is_missing_is_named(image: str, run: Run) -> None:
    result = run(image, "predict", "missing.png")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("mnistctl: missing.png: ")
    assert result.stderr.count("\n") == 1


def test_standard_input_that_docker_does_not_pass_on_is_no_picture(image: str, run: Run) -> None:
    result = run(image, "predict", "-")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.count("\n") == 1


def test_a_command_that_does_not_exist_is_wrong_usage(image: str, run: Run) -> None:
    assert run(image, "guess").returncode == 2


# what an image is made of


def test_the_image_for_predictions_holds_no_pytorch(images: None, run: Run) -> None:  # noqa: ARG001
    result = run("mnistctl:predict", "train")
    assert result.returncode == 1
    assert "train needs" in result.stderr
    assert "not installed" in result.stderr
    found = python("mnistctl:predict", "import torch")
    assert "No module named 'torch'" in found.stderr


def test_the_image_for_the_gpu_holds_a_cuda_build(images: None) -> None:  # noqa: ARG001
    built = python("mnistctl:gpu", "import torch; print(torch.cuda._is_compiled())")
    assert built.stdout == "True\n"


def test_the_image_for_the_cpu_holds_no_cuda_build(images: None) -> None:  # noqa: ARG001
    if not torch_index_answers():
        pytest.skip("PyTorch's index of builds for the CPU cannot be reached: set TORCH_INDEX")
    built = python("mnistctl:cpu", "import torch; print(torch.cuda._is_compiled())")
    assert built.stdout == "False\n"


def test_it_runs_as_a_user_without_a_name_that_may_write_none_of_it(image: str) -> None:
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


def test_it_holds_no_program_but_python_and_ours(image: str) -> None:
    program = """if True:
        import os
        for directory in os.environ["PATH"].split(":") + ["/usr/sbin"]:
            if os.path.isdir(directory):
                print(*os.listdir(directory))
    """
    assert {re.sub(r"[\d.]*$", "", name) for name in python(image, program).stdout.split()} == {
        *("env", "mnistctl", "python")
    }


def test_each_debian_package_in_it_is_on_record_with_its_licence(image: str) -> None:
    program = """if True:
        import pathlib
        for record in pathlib.Path("/var/lib/dpkg/status.d").iterdir():
            print(record.read_text())
        print(pathlib.Path("/usr/share/doc/libc6/copyright").read_text())
    """
    recorded = python(image, program).stdout
    assert "Package: libc6\nStatus: install ok installed\n" in recorded
    assert "Package: libstdc++6\n" in recorded
    assert "GNU Lesser General Public License" in recorded


def test_it_starts_the_program_itself_and_checks_no_health(image: str) -> None:
    assert inspect(image, "{{json .Config.Entrypoint}} {{json .Config.Cmd}}") == '["mnistctl"] null'
    assert inspect(image, "{{json .Config.Healthcheck}}") == "null"


def test_every_module_of_a_prediction_is_compiled_in_the_image_and_not_checked_again(
    image: str, run: Run
) -> None:
    program = """if True:
        import importlib.util, pathlib, sys
        from mnistctl.cli import main
        sys.argv = ["mnistctl", "predict", "seven.png"]
        try:
            main()
        except SystemExit:
            for module in sys.modules.values():
                spec = getattr(module, "__spec__", None)
                if spec and spec.has_location and spec.origin.endswith(".py"):
                    compiled = pathlib.Path(importlib.util.cache_from_source(spec.origin))
                    unchecked = b"\\1\\0\\0\\0"  # the flags of PEP 552
                    if not compiled.exists() or compiled.read_bytes()[4:8] != unchecked:
                        print(spec.origin)
    """
    assert run(image, "-c", program, flags=("--entrypoint=python",)).stdout == "7\n"


@pytest.mark.parametrize("variant", ["predict", "gpu"])
def test_it_is_as_small_as_it_was(variant: str, images: None) -> None:  # noqa: ARG001
    # Of ours alone: the base's size is the base's affair.
    history = docker("history", "--no-trunc", "--format={{.Size}}\t{{.CreatedBy}}", "--human=false",
                     f"mnistctl:{variant}").stdout  # fmt: skip
    ours = sum(
        int(size)
        for size, command in (line.split("\t", 1) for line in history.splitlines())
        if command.startswith("COPY /opt")
    )
    assert ours <= SIZES[variant] * 1.02


def test_a_prediction_takes_little_longer_than_starting_a_container(
    images: None,  # noqa: ARG001
    work: Path,
) -> None:
    def fastest(*command: str) -> float:
        times = []
        for _ in range(5):
            began = time.monotonic()
            docker("run", "--rm", f"--volume={work}:/work", *command)
            times.append(time.monotonic() - began)
        return min(times)

    nothing = fastest(build_argument("BASE"), "true")
    assert fastest("mnistctl:predict", "predict", "seven.png") - nothing <= 0.35
