"""Several processes that train together: torchrun starts them, torch.distributed joins them."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import cast

import torch
from torch import Tensor
from torch import distributed as dist

from mnistctl.errors import ExitStatus, MnistctlError, Stopped

MAX_PROCESSES = 100_000
# torchrun starts the processes together.
_START_TIMEOUT = 25
# For a process that is cut off. One that ends closes its connections, which the others see at once.
_STEP_TIMEOUT = timedelta(seconds=20)
# The first process calibrates, writes and evaluates the network while the others wait.
_WAIT_TIMEOUT = timedelta(minutes=10)


@dataclass(frozen=True)
class Processes:
    """The processes that train together, as this one sees them.

    Attributes:
        count: how many they are.
        rank: the number of this one, from 0.
        local_rank: the number of this one on its machine, from 0.
        group: what the steps communicate with; None for a single process.
    """

    count: int = 1
    rank: int = 0
    local_rank: int = 0
    group: dist.ProcessGroup | None = None

    def sum(self, tensors: Sequence[Tensor]) -> None:
        """Replace each tensor by its sum over all processes.

        ``DistributedDataParallel`` does this for gradients, as fast, but imports PyTorch's
        compiler: three seconds and 160 MB in each process.
        """
        values = torch.cat([tensor.flatten() for tensor in tensors])
        with _peer_errors():
            dist.all_reduce(values, group=self.group)
        parts = values.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view(tensor.shape))

    def agree(self, check_stop: Callable[[], None]) -> Callable[[], None]:
        """Return a function that raises Stopped in all processes if ``check_stop`` does in one."""

        def check_all() -> None:
            status = 0
            try:
                check_stop()
            except Stopped as stop:
                status = stop.status
            if status := self._highest(status):
                raise Stopped(ExitStatus(status))

        return check_stop if self.count == 1 else check_all

    def check_same(self, values: Mapping[str, int]) -> None:
        """Compare named values with those of the other processes.

        Raises:
            MnistctlError: a value differs.
        """
        for name, value in values.items():
            if self._highest(value) != -self._highest(-value):
                raise MnistctlError(f"the processes have different {name}: give all the same")

    def wait(self) -> None:
        """Wait until all processes are here.

        Raises:
            MnistctlError: one has ended.
        """
        if self.count > 1:
            with _peer_errors():
                dist.all_reduce(torch.zeros(1))  # a barrier of NCCL would start a GPU

    def _highest(self, value: int) -> int:
        tensor = torch.tensor(value)
        with _peer_errors():
            dist.all_reduce(tensor, dist.ReduceOp.MAX, self.group)
        return int(tensor)


ALONE = Processes()


def join() -> Processes:
    """Join the processes that torchrun started, as it says in the environment.

    Raises:
        MnistctlError: a variable is damaged, or the processes do not find each other.
    """
    count = _variable("WORLD_SIZE", 1, MAX_PROCESSES) if "WORLD_SIZE" in os.environ else 1
    if count == 1:
        return ALONE
    rank, local_rank = _variable("RANK", 0, count - 1), _variable("LOCAL_RANK", 0, count - 1)
    port = _variable("MASTER_PORT", 1, 65535)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    # In a thread, because PyTorch waits forever for a port at which another program listens.
    joined = ThreadPoolExecutor().submit(dist.init_process_group, backend, timeout=_WAIT_TIMEOUT)
    try:
        joined.result(_START_TIMEOUT)
        group = cast(dist.ProcessGroup, dist.new_group(timeout=_STEP_TIMEOUT))
    except (RuntimeError, TimeoutError, ValueError) as error:
        if "EADDRINUSE" in str(error):
            message = f"port {port} is taken: choose another (torchrun --master-port)"
        else:
            address = f"{os.environ.get('MASTER_ADDR')!r}, port {port}"
            message = f"the {count} processes do not find each other at {address}: start all again"
        raise MnistctlError(message) from error
    processes = Processes(count, rank, local_rank, group)
    processes.wait()  # else one that fails now would end the others' search for it
    return processes


def _variable(name: str, least: int, greatest: int) -> int:
    """Return the value of a variable that torchrun sets."""
    text = os.environ.get(name, "")
    value = int(text) if text.isascii() and text.isdecimal() else -1
    if not least <= value <= greatest:
        raise MnistctlError(
            f"{name} must be from {least} to {greatest}, not {text[:64]!r}: start with torchrun"
        )
    return value


@contextmanager
def _peer_errors() -> Iterator[None]:
    """Turn an error of torch.distributed into one for the user."""
    try:
        yield
    except RuntimeError as error:
        raise MnistctlError(
            "another process of this training has ended or does not answer: see its error, then "
            "start all again"
        ) from error
