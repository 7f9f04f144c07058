"""Two containers that train together, each with one process, on a network of their own."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from container.engine import docker
from support import names

TORCHRUN = ("-m", "torch.distributed.run", "--nnodes=2", "--master-addr=first")
PEER_LOST = "mnistctl: another process of this training has ended or does not answer: "


class Pair:
    """Starts the two containers and reads what they print."""

    def __init__(self, network: str, work: Path, data: Path) -> None:
        self.flags = (f"--network={network}", f"--volume={data}:/data:ro")
        self.work = work
        self.containers: list[str] = []

    def start(self, *options: str, second: tuple[str, ...] = ()) -> None:
        """Start ``train`` in both; the second container may have options of its own."""
        mount = ("--network-alias=first", f"--volume={self.work}:/work", "--user=12345")
        for rank, flags in enumerate((mount, ())):
            program = ("--entrypoint=python", "mnistctl:cpu", *TORCHRUN, f"--node-rank={rank}")
            train = ("-m", "mnistctl", "train", "--data-dir=/data", *options)
            own = second if rank else ()
            started = docker("run", "--detach", *self.flags, *flags, *program, *train, *own)
            self.containers.append(started.stdout.strip())

    def wait_for_an_epoch(self) -> None:
        logs = ["docker", "logs", "--follow", self.containers[0]]
        with subprocess.Popen(logs, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr
            assert process.stderr.readline().startswith("epoch 1/")
            process.terminate()

    def statuses(self) -> list[int]:
        """Wait for the end of both, and return their exit statuses."""
        return [int(docker("wait", each).stdout) for each in self.containers]

    def printed(self) -> list[tuple[str, str]]:
        """Return stdout and stderr of both."""
        logs = [docker("logs", each) for each in self.containers]
        return [(log.stdout, log.stderr) for log in logs]


@pytest.fixture
def pair(images: None, work: Path, data: Path, tmp_path: Path) -> Iterator[Pair]:  # noqa: ARG001
    network = docker("network", "create", f"mnistctl-{tmp_path.name}").stdout.strip()
    pair = Pair(network, work, data)
    try:
        yield pair
    finally:
        docker("rm", "--force", *pair.containers, check=False)
        docker("network", "rm", network)


def test_two_containers_train_together(pair: Pair) -> None:
    pair.start("--epochs=2")
    assert pair.statuses() == [0, 0]
    (output, errors), second = pair.printed()
    assert output.startswith("model.onnx  test accuracy ")
    assert [line[:9] for line in errors.splitlines()] == ["epoch 1/2", "epoch 2/2"]
    assert second == ("", "")
    assert names(pair.work) == ["model.onnx", "seven.png"]


def test_a_container_that_is_killed_ends_the_other(pair: Pair) -> None:
    pair.start("--epochs=1000")
    pair.wait_for_an_epoch()
    began = time.monotonic()
    docker("kill", pair.containers[1])
    assert pair.statuses() == [1, 137]
    assert time.monotonic() - began < 30
    assert PEER_LOST in pair.printed()[0][1]
    assert names(pair.work) == ["seven.png"]


def test_docker_stop_of_one_container_stops_both_and_saves_the_checkpoint(pair: Pair) -> None:
    pair.start("--epochs=1000", "--checkpoint=run.ckpt")
    pair.wait_for_an_epoch()
    docker("stop", pair.containers[1])
    assert pair.statuses() == [1, 1]  # of torchrun
    first, second = (errors for _, errors in pair.printed())
    assert "mnistctl: stopped; resume with the same command and: --resume run.ckpt\n" in first
    assert "mnistctl:" not in second
    assert names(pair.work) == ["run.ckpt", "seven.png"]


def test_a_container_without_the_data_set_ends_both(pair: Pair) -> None:
    pair.start("--epochs=1", second=("--data-dir=/missing",))
    assert pair.statuses() == [1, 1]
    first, second = (errors for _, errors in pair.printed())
    assert PEER_LOST in first
    assert "mnistctl: /missing: is not a directory with a data set.\n" in second
    assert names(pair.work) == ["seven.png"]
