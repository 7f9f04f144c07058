"""The program of one of the two processes of test_distributed.py: prints what the tests check."""

import hashlib
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from mnistctl import signals, terminal
from mnistctl.dataset import Dataset, load_dataset
from mnistctl.errors import MnistctlError, Stopped
from mnistctl.settings import TrainSettings
from mnistctl.training import augmentation, distributed, loop
from mnistctl.training.loop import Progress, Training

CPU = torch.device("cpu")
# Batches of 15 images give one process eight and the other seven. An epoch has 13.
SETTINGS = TrainSettings(epochs=2, batch_size=15, threads=1)


def few_images() -> Dataset:
    test = load_dataset("test")
    return Dataset(test.images[:200], test.labels[:200])


def digest(training: Training) -> str:
    """Return a hash of the whole state of a training."""
    hashed = hashlib.sha256(str(training.step).encode())
    for tensor in training._tensors().values():
        hashed.update(np.ascontiguousarray(tensor.numpy()).tobytes())
    return hashed.hexdigest()


def augmented(training: Training) -> list[tuple[int, list[str]]]:
    """Take ten steps, and return the random seed of each augmentation and hashes of its images."""
    seen = []

    def augment(images: Tensor, _labels: Tensor) -> Tensor:
        hashes = [hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in images]
        # This is all that the generator of a CPU reads of a seed.
        seen.append((torch.initial_seed() % 2**32, hashes))
        return images / 255

    def stop(_progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, suppress(KeyboardInterrupt):
        patch.setattr(loop, "augment", augment)
        training.run(report=stop)
    return seen


def finish(data: Dataset) -> dict[str, object]:
    reports: list[Progress] = []
    training = Training(SETTINGS, data, CPU)
    training.run(report=reports.append)
    losses = [(report.epoch, report.batch, report.loss, report.accuracy) for report in reports]
    return {"reports": losses, "finished": digest(training)}


def stop_and_resume(data: Dataset, path: Path) -> dict[str, object]:
    """Train until one process gets a signal in its second step, then to the end."""

    def augment(images: Tensor, labels: Tensor) -> Tensor:
        if distributed.rank() == 1 and training.step == 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return augmentation.augment(images, labels)

    training = Training(SETTINGS, data, CPU)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "augment", augment)
        try:
            training.run(path)
        except Stopped as stop:
            status = int(stop.status)
    signals._requested = None
    with distributed.finish_together():  # the checkpoint is written
        pass
    resumed = Training.resume(path, {}, data, CPU)
    resumed.run()
    return {
        "status": status,
        "steps": training.step,
        "stopped": digest(training),
        "resumed": digest(resumed),
    }


def differ(data: Dataset) -> str:
    """Return the error if the processes have different random seeds."""
    try:
        Training(TrainSettings(seed=distributed.rank(), threads=1), data, CPU).run()
    except MnistctlError as error:
        return str(error)
    return ""


def lose_the_other(data: Dataset) -> str:
    """Return the error in the first process when the second is killed."""

    def report(_progress: Progress) -> None:
        if distributed.rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        Training(SETTINGS, data, CPU).run(report=report)
    except MnistctlError as error:
        return str(error)
    return ""


def main(checkpoint: Path) -> None:
    signals.install_handlers()
    distributed.join()
    data = few_images()
    values = {
        "augmented": augmented(Training(SETTINGS, data, CPU)),
        **finish(data),
        **stop_and_resume(data, checkpoint),
        "different": differ(data),
        "is_batch": sys.platform == "linux" and os.sched_getscheduler(0) == os.SCHED_BATCH,
    }
    terminal.emit_json(values)
    terminal.emit_json({"lost": lose_the_other(data)})
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
