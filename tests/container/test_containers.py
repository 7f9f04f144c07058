"""What the images do."""

import ast
import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from container.engine import Run, docker, run_python
from PIL import Image
from support import names

LOCKED_DOWN = (
    "--user=12345:54321",
    "--read-only",
    "--network=none",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
)

# predict and validate


def test_predict_prints_the_digit_of_a_mounted_image(image: str, run: Run) -> None:
    assert run(image, "predict", "seven.png").stdout == "7\n"


def test_predict_reads_standard_input(image: str, work: Path) -> None:
    with (work / "seven.png").open("rb") as file:
        result = docker("run", "--rm", "--interactive", image, "predict", "-", stdin=file)
    assert result.stdout == "7\n"


@pytest.mark.parametrize("kind", ["AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "WEBP"])
def test_predict_reads_each_format(kind: str, image: str, run: Run, work: Path) -> None:
    with Image.open(work / "seven.png") as seven:
        seven.convert("L").save(work / "seven.image", kind, exif=Image.Exif())
    assert run(image, "predict", "seven.image").stdout == "7\n"


def test_predict_needs_no_rights_no_network_and_256_mb(image: str, run: Run) -> None:
    result = run(image, "predict", "seven.png", flags=(*LOCKED_DOWN, "--memory=256m"))
    assert (result.stdout, result.stderr, result.returncode) == ("7\n", "", 0)


def test_validate_reaches_the_accuracy_that_the_model_records(image: str, run: Run) -> None:
    result = run(image, "validate", "--json", flags=LOCKED_DOWN)
    program = "from mnistctl.classifier import Classifier as C; print(C.load().metadata)"
    recorded = ast.literal_eval(run_python(image, program).stdout)["test_accuracy"]
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


def test_validate_needs_one_thread_besides_its_own(image: str, run: Run) -> None:
    result = run(image, "validate", flags=("--pids-limit=1",))
    assert (result.stdout, result.returncode) == ("", 1)
    assert result.stderr == "mnistctl: the model cannot be evaluated: can't start new thread.\n"


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
    assert "which is not installed: run pip install onnx safetensors torch" in result.stderr
    assert "use the image mnistctl:cpu or mnistctl:gpu" in result.stderr
