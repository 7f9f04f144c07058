"""Several processes that train together: torchrun starts them, torch.distributed joins them."""

import os
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist

from mnistctl.errors import ExitStatus, MnistctlError, Stopped

# For a process that is cut off. One that ends closes its connections, which the others see at once.
_TIMEOUT = timedelta(seconds=20)
_EXPORT_TIMEOUT = timedelta(minutes=10)


def join() -> None:
    """Join the processes that torchrun started, as it says in the environment.

    Raises:
        MnistctlError: a variable is damaged, or the processes do not find each other.
    """
    if not os.environ.get("WORLD_SIZE"):
        return
    processes = _variable("WORLD_SIZE", 1, 100_000)
    if processes == 1:
        return
    _variable("RANK", 0, processes - 1)
    _variable("LOCAL_RANK", 0, processes - 1)
    port = _variable("MASTER_PORT", 1, 65535)
    _run_as_batch()
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    # In a thread, because PyTorch waits forever for a port at which another program listens.
    joined = ThreadPoolExecutor().submit(dist.init_process_group, backend, timeout=_TIMEOUT)
    try:
        joined.result(_TIMEOUT.total_seconds())
    except (RuntimeError, TimeoutError, ValueError) as error:
        if "EADDRINUSE" in str(error):
            message = f"port {port} is taken: choose another (torchrun --master-port)"
        else:
            address = f"{os.environ.get('MASTER_ADDR')!r}, port {port}"
            message = f"{processes} processes do not find each other at {address}: start all again"
        raise MnistctlError(message) from error
    # Wait until all have joined: the others would not find a process that fails now.
    _all_reduce(torch.zeros(1))


def count() -> int:
    """Return the number of processes that train together."""
    return dist.get_world_size() if _is_joined() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return dist.get_rank() if _is_joined() else 0


def local_rank() -> int:
    """Return the number of this process on its machine, from 0."""
    return int(os.environ["LOCAL_RANK"])


def add_up(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its sum over all processes.

    ``DistributedDataParallel`` does this for gradients, as fast, but imports PyTorch's compiler:
    three seconds and 160 MB in each process.
    """
    values = torch.cat([tensor.flatten() for tensor in tensors])
    _all_reduce(values)
    parts = values.split([tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view(tensor.shape))


def check_stop(check_signal: Callable[[], None]) -> None:
    """Raise Stopped in all processes if ``check_signal`` does in one."""
    status = 0
    try:
        check_signal()
    except Stopped as stop:
        status = stop.status
    if status := _highest(status):
        raise Stopped(ExitStatus(status))


def check_same(state: object) -> None:
    """Compare a value, by its ``repr``, with that of the other processes.

    Raises:
        MnistctlError: they differ.
    """
    checksum = zlib.crc32(repr(state).encode())
    highest, lowest = _highest(checksum), -_highest(-checksum)
    if highest != lowest:
        raise MnistctlError(
            "the processes have different options, data sets, checkpoints or versions of PyTorch: "
            "give all the same"
        )


@contextmanager
def finish_together() -> Iterator[None]:
    """Let the processes wait at the end of the block for the one that takes longest."""
    with _peer_errors():
        group = dist.new_group(timeout=_EXPORT_TIMEOUT, backend="gloo") if _is_joined() else None
    yield
    _all_reduce(torch.zeros(1), group=group)


def _variable(name: str, least: int, greatest: int) -> int:
    """Return the value of a variable that torchrun sets."""
    text = os.environ.get(name, "")
    value = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else -1
    if not least <= value <= greatest:
        raise MnistctlError(
            f"{name} must be from {least} to {greatest}, not {text[:64]!r}: start with torchrun"
        )
    return value


def _run_as_batch() -> None:
    """Choose Linux's batch policy: a thread that wakes up does not interrupt another one.

    One thread of gloo spins while another one holds a lock. If the first interrupts the second,
    both wait until its time slice ends: 3 ms, in half of the steps.
    """
    if sys.platform == "linux":
        with suppress(OSError):  # a sandbox may forbid it
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))


def _is_joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def _highest(value: int) -> int:
    if not _is_joined():
        return value
    tensor = torch.tensor(value)
    _all_reduce(tensor, op=dist.ReduceOp.MAX)
    return int(tensor)


def _all_reduce(tensor: Tensor, **options: Any) -> None:
    if _is_joined():
        with _peer_errors():
            dist.all_reduce(tensor, **options)


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
