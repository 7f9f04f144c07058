"""The fit loop and augmentation."""

import copy
import math
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms import v2

from mnistctl import checkpoint
from mnistctl.dataset import SIDE, Digits
from mnistctl.errors import MnistctlError, shown
from mnistctl.network import network

# torchvision draws one random transform a call, and a call for each picture would take longer than
# the training itself.
_AUGMENTED_TOGETHER = 64
_LABEL_SMOOTHING = 0.1
_CALIBRATED_ON = 4096

_MOVED_BY_SCHEDULE = ("last_epoch", "_step_count", "_last_lr")


@dataclass(frozen=True)
class Settings:
    """What a training is determined by, together with the data and the versions.

    Attributes:
        epochs: passes over the data, from 1.
        batch_size: pictures a step, from 2.
        learning_rate: the highest of the one-cycle schedule, over 0.
        seed: of the initial weights, the order of pictures, and their augmentation.
        threads: of the CPU, from 1.
    """

    epochs: int = 3
    batch_size: int = 256
    learning_rate: float = 0.02
    seed: int = 0
    threads: int = field(default_factory=torch.get_num_threads)

    def facts(self) -> dict[str, float]:
        """Return the settings in the terms of JSON."""
        return asdict(self)


@dataclass(frozen=True)
class Step:
    """How far a training is after a batch.

    Attributes:
        epoch: from 1.
        epochs: in the training.
        batch: within the epoch, from 1.
        batches: in an epoch.
        loss: the mean cross-entropy, in nats, of the epoch's batches so far.
        images_per_second: since the run began or was resumed.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    images_per_second: float = field(compare=False)


class Training:
    """A training run: the network, its optimizer and schedule, and how far they are.

    The data set lives on the device, 8 bits a pixel, and batches are gathered from it by index (the
    idea of KellerJordan/cifar10-airbench): no loader, no worker processes.
    """

    def __init__(self, settings: Settings, digits: Digits, device: torch.device) -> None:
        """Begin a run.

        Raises:
            MnistctlError: the data set has fewer than two pictures.
        """
        if len(digits) < 2:
            raise MnistctlError("the data set has a single picture: training takes two at least")
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.settings = settings
        self.network = network().to(device).to(memory_format=torch.channels_last)
        self._images = torch.tensor(digits.images, device=device).unsqueeze(1)
        self._labels = torch.tensor(digits.labels, device=device, dtype=torch.int64)
        self._batch_size = min(settings.batch_size, len(digits))
        self._batches = len(digits) // self._batch_size
        self._optimizer = torch.optim.AdamW(
            self.network.parameters(),
            settings.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=0.05,
            fused=True,
        )
        self._schedule = torch.optim.lr_scheduler.OneCycleLR(
            self._optimizer,
            settings.learning_rate,
            total_steps=settings.epochs * self._batches,
            div_factor=10,
            final_div_factor=1000,
            cycle_momentum=False,
        )
        self._augment = v2.RandomAffine(
            degrees=12,
            translate=(2 / SIDE, 2 / SIDE),
            scale=(0.88, 1.12),
            shear=(-8, 8, -8, 8),
            interpolation=v2.InterpolationMode.BILINEAR,
        )
        self._bfloat16 = _multiplies_bfloat16(device)
        self._data_checksum = zlib.crc32(digits.labels.data, zlib.crc32(digits.images.data))
        # Of each epoch alone, so that a resumed run need not know what came before.
        self._seeds = torch.randint(2**62, (settings.epochs,)).tolist()
        self._done = 0
        self._loss_sum = 0.0

    def steps(self, pause: Callable[[], None] = lambda: None) -> Iterator[Step]:
        """Train to the end, or for as long as the caller asks for another step.

        Args:
            pause: called some hundred times while an epoch's pictures are made ready, which takes
                as long as many steps. It may raise: the run is then where its last step left it.

        Raises:
            MnistctlError: the loss is no longer a number.
        """
        began, done_before = time.monotonic(), self._done
        first, skipped = divmod(self._done, self._batches)
        for epoch in range(first, self.settings.epochs):
            for batch, (images, labels) in enumerate(self._epoch(epoch, pause)):
                if epoch == first and batch < skipped:
                    continue
                self._loss_sum = self._fit(images, labels) + (self._loss_sum if batch else 0.0)
                self._done += 1
                if not math.isfinite(self._loss_sum):
                    raise MnistctlError(
                        f"training diverged in epoch {epoch + 1} (the loss is not a number): "
                        f"try an --lr below {self.settings.learning_rate:g}"
                    )
                images_seen = (self._done - done_before) * self._batch_size
                yield self._last_step(images_seen / (time.monotonic() - began))

    def _last_step(self, images_per_second: float) -> Step:
        epoch, batch = divmod(self._done - 1, self._batches)
        return Step(
            epoch=epoch + 1,
            epochs=self.settings.epochs,
            batch=batch + 1,
            batches=self._batches,
            loss=self._loss_sum / (batch + 1),
            images_per_second=images_per_second,
        )

    def _epoch(self, epoch: int, pause: Callable[[], None]) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of an epoch, 8-bit images and labels, augmented anew.

        A random transform is shared by a few pictures, which end up in different batches.
        """
        torch.manual_seed(self._seeds[epoch])
        images, labels = self._augmented(torch.randperm(len(self._labels)), pause)
        order = torch.randperm(len(labels)).to(labels.device)
        for chosen in order.split(self._batch_size)[: self._batches]:
            yield images[chosen], labels[chosen]

    def _augmented(
        self, chosen: Tensor, pause: Callable[[], None] = lambda: None
    ) -> tuple[Tensor, Tensor]:
        """Return the pictures of these indices, randomly transformed, and their labels."""
        chosen = chosen.to(self._labels.device)
        images = []
        for part in chosen.split(_AUGMENTED_TOGETHER):
            images.append(self._augment(self._images[part]))
            pause()
        return torch.cat(images), self._labels[chosen]

    def _fit(self, images: Tensor, labels: Tensor) -> float:
        """Take one step on a batch and return its loss."""
        self.network.train()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._bfloat16):
            logits = self.network(images / 255)
        loss = functional.cross_entropy(logits.float(), labels, label_smoothing=_LABEL_SMOOTHING)
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        self._schedule.step()
        return loss.item()

    def calibrated(self) -> nn.Sequential:
        """Return a copy of the network whose probabilities are as often right as they say.

        Smoothed labels make it right more often but less sure than it should be. A temperature, by
        which the logits are divided, corrects that (C. Guo et al., "On calibration of modern neural
        networks", 2017); it is chosen on augmented training pictures, which are nearly as hard as
        those never seen.
        """
        torch.manual_seed(self.settings.seed)
        images, labels = self._augmented(torch.randperm(len(self._labels))[:_CALIBRATED_ON])
        calibrated = copy.deepcopy(self.network).eval()
        with torch.inference_mode():
            logits = calibrated(images / 255)
            temperatures = torch.logspace(-1, 1, 200).tolist()
            losses = [functional.cross_entropy(logits / t, labels).item() for t in temperatures]
        temperature = temperatures[losses.index(min(losses))]
        with torch.no_grad():
            for parameter in calibrated[-1].parameters():
                parameter.div_(temperature)
        return calibrated

    def save(self, path: Path) -> None:
        """Write a checkpoint, from which :meth:`resumed` goes on as if nothing had happened.

        Raises:
            MnistctlError: ``path`` cannot be written.
        """
        checkpoint.write(path, self._state())

    def _state(self) -> dict[str, Any]:
        return {
            "settings": self.settings.facts(),
            "data": self._data_checksum,
            "network": self.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "schedule": self._schedule.state_dict(),
            "done": self._done,
            "loss_sum": self._loss_sum,
        }

    @classmethod
    def resumed(
        cls, path: Path, given: Mapping[str, float], digits: Digits, device: torch.device
    ) -> "Training":
        """Go on from a checkpoint, with its settings. Nothing in the file is ever executed.

        Args:
            path: the checkpoint.
            given: settings that must be the checkpoint's.
            digits: the data it was made with.
            device: where to train; the result is the same to the byte on the CPU alone.

        Raises:
            MnistctlError: the file cannot be read, is no checkpoint of this version, or is of other
                data or settings.
        """
        state = checkpoint.read(path)
        settings = Settings(**state["settings"])
        for setting, value in given.items():
            if value != getattr(settings, setting):
                raise MnistctlError(
                    f"{shown(path)}: was begun with {setting.replace('_', ' ')} "
                    f"{getattr(settings, setting)}, not {value}: leave that option out"
                )
        training = cls(settings, digits, device)
        if state["data"] != training._data_checksum:
            raise MnistctlError(
                f"{shown(path)}: was made with another data set: give the same --data-dir"
            )
        if not training._takes(state):
            raise checkpoint.unsound(path)
        training.network.load_state_dict(state["network"])
        training._optimizer.load_state_dict(state["optimizer"])
        training._schedule.load_state_dict(state["schedule"])
        training._done = state["done"]
        training._loss_sum = state["loss_sum"]
        return training

    def _takes(self, state: dict[str, Any]) -> bool:
        """Say whether a state is one that this training could have saved.

        PyTorch itself does not look, and reads beyond a tensor that is too short.
        """
        own = self._state()
        if 0 < state["done"] <= self.settings.epochs * self._batches:
            own["optimizer"]["state"] = {
                index: {
                    "step": torch.tensor(0.0),
                    "exp_avg": torch.zeros_like(parameter),
                    "exp_avg_sq": torch.zeros_like(parameter),
                }
                for index, parameter in enumerate(self.network.parameters())
            }
        return (
            checkpoint.is_alike(state, own)
            and state["schedule"]["last_epoch"] == state["done"]
            and checkpoint.is_same_but(state["schedule"], own["schedule"], _MOVED_BY_SCHEDULE)
            and all(
                checkpoint.is_same_but(found, group, ("lr",))
                for found, group in zip(
                    state["optimizer"]["param_groups"],
                    own["optimizer"]["param_groups"],
                    strict=True,
                )
            )
        )


def _multiplies_bfloat16(device: torch.device) -> bool:
    """Say whether a device multiplies matrices of bfloat16 in hardware, faster than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # An older PyTorch cannot tell; Intel's server processors have it since 2023.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return device.type == "cpu" and bool(capabilities.get("amx_bf16"))


def choose_device(name: str) -> torch.device:
    """Return the device of a name: ``auto`` (the fastest there is), ``cpu``, ``cuda`` or ``mps``.

    Raises:
        MnistctlError: this machine, or this build of PyTorch, has no such device.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next((device for device, there in available.items() if there), "cpu")
    elif not available.get(name, True):
        reason = {
            "cuda": "CUDA finds no GPU (in a container: docker run --gpus all)"
            if torch.backends.cuda.is_built()
            else "this PyTorch is built without CUDA",
            "mps": "PyTorch finds no Apple GPU",
        }[name]
        raise MnistctlError(f"--device {name}: {reason}; --device auto takes what there is")
    return torch.device(name)
