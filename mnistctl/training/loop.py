"""The training loop: epochs, batches, checkpoints and stopping."""

import copy
import math
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.adamw import adamw

from mnistctl import files, signals
from mnistctl.dataset import Dataset, load_dataset
from mnistctl.errors import MnistctlError, Stopped, path_error
from mnistctl.evaluation import Report
from mnistctl.settings import Number, TrainSettings
from mnistctl.training import checkpoint, distributed
from mnistctl.training.augmentation import augment
from mnistctl.training.checkpoint import Checkpoint
from mnistctl.training.export import export
from mnistctl.training.graph import Graph
from mnistctl.training.network import build_network

_LABEL_SMOOTHING = 0.1
# The last steps see the images as they are: that lowers the loss on unseen digits.
_AUGMENTED_SHARE = 0.9
_CALIBRATION_IMAGES = 4096
_CALIBRATION_BATCH = 256
# Reading the loss waits for the device, so it is not read at every step.
_STEPS_BETWEEN_REPORTS = 10


@dataclass(frozen=True)
class Progress:
    """The progress of a training: the epoch, from 1, and its finished batches.

    Attributes:
        loss: mean cross-entropy in nats of these batches, without label smoothing.
        accuracy: share of correct predictions in these batches, 0 to 1.
        images_per_second: since the training started or was resumed.
    """

    epoch: int
    epochs: int
    batch: int
    batches: int
    loss: float
    accuracy: float
    images_per_second: float = field(compare=False)


def train(
    overrides: Mapping[str, Number],
    output: Path,
    data_dir: Path | None,
    device: str,
    checkpoint_path: Path | None,
    resume: Path | None,
    report: Callable[[Progress], None],
) -> tuple[dict[str, Number], Report | None]:
    """Train a network, write the model file and evaluate it on the test set.

    The settings are ``overrides`` and the defaults. A resumed training uses its saved settings, and
    ``overrides`` must match them. Only the first of several processes writes and evaluates.

    Returns:
        The settings, and in the first process the evaluation.

    Raises:
        MnistctlError: a file, the data set, the device or the training fails.
        Stopped: a signal arrived; the checkpoint is saved.
    """
    if distributed.rank() == 0:
        for path in filter(None, (output, checkpoint_path)):
            files.check_writable(path)
    target = choose_device(device)
    data, test = load_dataset("train", data_dir), load_dataset("test", data_dir)
    with _memory_errors():
        if resume:
            training = Training.resume(resume, overrides, data, target)
        else:
            training = Training(TrainSettings(**overrides), data, target)  # type: ignore[arg-type]
        training.run(checkpoint_path, report)
        described, evaluation = asdict(training.settings), None
        if distributed.count() > 1:
            described["processes"] = distributed.count()
        with distributed.finish_together():
            if distributed.rank() == 0:
                with signals.deferred():
                    network = training.calibrate()
                evaluation = export(network, test, output, described)
    return described, evaluation


class Training:
    """A training: the network, its optimizer, the data and the number of finished steps.

    The data set lives on the device as 8-bit integers, and batches are gathered from it by index,
    without a data loader (from KellerJordan/cifar10-airbench).
    """

    def __init__(self, settings: TrainSettings, data: Dataset, device: torch.device) -> None:
        """Start a training.

        Raises:
            MnistctlError: the data set has fewer than two images, or a batch has fewer images than
                there are processes.
        """
        if len(data) < 2:
            raise MnistctlError("the data set has one image: training needs at least two")
        threads = settings.threads or torch.get_num_threads()
        self.settings = replace(settings, threads=threads)
        self.step = 0
        torch.set_num_threads(threads)
        torch.manual_seed(settings.seed)
        self.network = build_network().to(device).to(memory_format=torch.channels_last)
        # Each epoch has its own seed, so a resumed training can skip the epochs before.
        self._epoch_seeds = torch.randint(2**62, (settings.epochs,)).tolist()
        self._images = torch.tensor(data.images, device=device).unsqueeze(1)
        self._labels = torch.tensor(data.labels, device=device, dtype=torch.int64)
        self._checksum = zlib.crc32(data.labels.data, zlib.crc32(data.images.data))
        self._batch_size = min(settings.batch_size, len(data))
        self._batches = len(data) // self._batch_size
        processes = distributed.count()
        if self._batch_size < processes:
            raise MnistctlError(
                f"a batch of {self._batch_size} images is too small for {processes} processes: "
                "use a larger --batch-size or fewer processes"
            )
        self._parameters = dict(self.network.named_parameters())
        self._averages = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        self._squares = {name: torch.zeros_like(p) for name, p in self._parameters.items()}
        self._bfloat16 = _has_fast_bfloat16(device)
        self._epoch_loss = torch.zeros((), device=device)
        self._epoch_correct = torch.zeros((), device=device, dtype=torch.int64)
        # A CUDA graph repeats Python's numbers, so these are tensors. AdamW reads the learning rate
        # as float64 on a CPU and as float32 on a GPU.
        precision = torch.float64 if device.type == "cpu" else torch.float32
        self._learning_rate = torch.zeros((), device=device, dtype=precision)
        self._finished_steps = torch.zeros((), device=device)
        # CUDA graphs with communication between processes have not been tested.
        is_recorded = device.type == "cuda" and processes == 1
        self._updates: dict[bool, Callable[[Tensor], None]] = {}
        for is_augmented in (True, False):
            update = partial(self._update, is_augmented=is_augmented)
            self._updates[is_augmented] = Graph(update) if is_recorded else update

    @classmethod
    def resume(
        cls, path: Path, overrides: Mapping[str, Number], data: Dataset, device: torch.device
    ) -> "Training":
        """Continue the training in a checkpoint.

        On the CPU, the result is the same to the byte as without the interruption.

        Raises:
            MnistctlError: the file is not a checkpoint of this version, or it has other settings
                than ``overrides``, or another data set or number of processes.
        """
        saved = checkpoint.read(path)
        for name, value in overrides.items():
            if value != (saved_value := getattr(saved.settings, name)):
                setting = f"{name.replace('_', ' ')} {saved_value}, not {value}"
                raise path_error(path, f"was started with {setting}: leave that option out")
        processes = distributed.count()
        if saved.processes != processes:
            number = f"processes {saved.processes}, not {processes}"
            raise path_error(path, f"was started with {number}: start that many with torchrun")
        training = cls(saved.settings, data, device)
        if saved.checksum != training._checksum:
            raise path_error(path, "was made with another data set: use the same --data-dir")
        tensors = training._tensors()
        if (
            not 0 <= saved.step <= saved.settings.epochs * training._batches
            or _shapes_and_dtypes(saved.tensors) != _shapes_and_dtypes(tensors)
            or not all(tensor.isfinite().all() for tensor in saved.tensors.values())
        ):
            raise path_error(path, checkpoint.INVALID)
        for name, tensor in tensors.items():
            tensor.copy_(saved.tensors[name])
        training.step = saved.step
        return training

    def save(self, path: Path) -> None:
        """Write a checkpoint. All processes have the same state, so the first alone writes.

        Raises:
            MnistctlError: the training diverged, or the file cannot be written.
        """
        if not all(tensor.isfinite().all() for tensor in self._tensors().values()):
            raise self._divergence()
        if distributed.rank() == 0:
            state = Checkpoint(
                settings=self.settings,
                checksum=self._checksum,
                processes=distributed.count(),
                step=self.step,
                tensors=self._tensors(),
            )
            checkpoint.write(path, state)

    def run(
        self,
        checkpoint_path: Path | None = None,
        report: Callable[[Progress], None] = lambda _progress: None,
    ) -> None:
        """Train to the end, reporting every ten steps and after each epoch.

        The checkpoint is saved after each epoch and when stopped.

        Raises:
            MnistctlError: the training diverged, the checkpoint cannot be written, or another
                process has ended or differs from this one.
            Stopped: a signal arrived, in this process or another; the last step is complete.
        """
        weights = b"".join(tensor.cpu().numpy().tobytes() for tensor in self._tensors().values())
        settings = replace(self.settings, threads=None)  # machines may differ in their threads
        start = (settings, self._labels.device.type, self._checksum, self.step, zlib.crc32(weights))
        distributed.check_same(start)
        with signals.deferred() as check_signal:
            try:
                for progress in self._steps(check_signal):
                    if checkpoint_path and progress.batch == progress.batches:
                        self.save(checkpoint_path)
                    report(progress)
                    distributed.check_stop(check_signal)
            except Stopped:
                if checkpoint_path:
                    self.save(checkpoint_path)
                raise

    def calibrate(self) -> nn.Sequential:
        """Return a copy of the network with calibrated probabilities.

        Smoothed labels make it less confident than it should be. Dividing its logits by a
        temperature corrects that (C. Guo et al., "On calibration of modern neural networks", 2017).
        Augmented training images, nearly as hard as unseen ones, are used to choose it.

        Raises:
            MnistctlError: the training diverged.
        """
        torch.manual_seed(self.settings.seed)
        network: nn.Sequential = copy.deepcopy(self.network).eval()
        indices = torch.randperm(len(self._labels))[:_CALIBRATION_IMAGES].to(self._labels.device)
        labels = self._labels[indices]
        with torch.inference_mode():
            logits = torch.cat(
                [
                    network(augment(self._images[batch], self._labels[batch]))
                    for batch in indices.split(_CALIBRATION_BATCH)
                ]
            )
            temperatures = torch.logspace(-1, 1, 200).tolist()
            losses = [functional.cross_entropy(logits / t, labels).item() for t in temperatures]
        if not math.isfinite(min(losses)):
            raise self._divergence()
        temperature = temperatures[losses.index(min(losses))]
        with torch.no_grad():
            for parameter in network[-1].parameters():
                parameter.div_(temperature)
        return network

    def _steps(self, check_signal: Callable[[], None]) -> Iterator[Progress]:
        """Take all remaining steps, and yield the progress every ten steps and after each epoch."""
        start, first_step = time.monotonic(), self.step
        for epoch in range(self.step // self._batches, self.settings.epochs):
            if self.step == epoch * self._batches:
                self._epoch_loss.zero_()
                self._epoch_correct.zero_()
            torch.manual_seed(self._epoch_seeds[epoch])
            order = torch.randperm(len(self._labels)).to(self._labels.device)
            batches = order.split(self._batch_size)[: self._batches]
            for indices in batches[self.step - epoch * self._batches :]:
                # Several processes agree after each report: agreeing at each step takes time.
                if distributed.count() == 1:
                    check_signal()
                self._take_step(indices)
                batch = self.step - epoch * self._batches
                if batch % _STEPS_BETWEEN_REPORTS == 0 or batch == self._batches:
                    yield self._progress(epoch, batch, self.step - first_step, start)

    def _take_step(self, indices: Tensor) -> None:
        """Update the weights with the batch of images that have these indices.

        Each process takes its share of them.
        """
        count, rank = distributed.count(), distributed.rank()
        # Each step has its own seed, so a resumed training need not repeat the steps before. So has
        # each process. The seeds are consecutive, so they differ in the 32 bits that a CPU reads.
        seed = self._epoch_seeds[self.step // self._batches] + 1 + self.step * count + rank
        torch.manual_seed(seed)
        steps = self.settings.epochs * self._batches
        self._learning_rate.fill_(learning_rate(self.step, steps, self.settings.learning_rate))
        self._finished_steps.fill_(self.step)
        is_augmented = self.step < _AUGMENTED_SHARE * steps
        if not is_augmented:
            self._updates.pop(True, None)  # frees the memory of its graph
        self._updates[is_augmented](indices[rank::count])
        self.step += 1

    def _update(self, indices: Tensor, *, is_augmented: bool) -> None:
        """Update the weights with the images that have these indices."""
        images, labels = self._images[indices], self._labels[indices]
        images = augment(images, labels) if is_augmented else images / 255
        self.network.train()
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self._bfloat16):
            logits = self.network(images)
        logits = logits.float()
        self.network.zero_grad()
        functional.cross_entropy(logits, labels, label_smoothing=_LABEL_SMOOTHING).backward()
        with torch.no_grad():
            loss = functional.cross_entropy(logits, labels)
            correct = (logits.argmax(1) == labels).sum()
            if distributed.count() > 1:
                self._combine(len(labels) / self._batch_size, loss, correct)
            self._update_weights()
            self._epoch_loss += loss
            self._epoch_correct += correct

    def _combine(self, share: float, loss: Tensor, correct: Tensor) -> None:
        """Turn what a step computed from this process's share of a batch into that of the batch."""
        statistics = [buffer for buffer in self.network.buffers() if buffer.is_floating_point()]
        means = [*self._gradients(), *statistics, loss]
        for tensor in means:
            tensor.mul_(share)
        distributed.add_up([*means, correct])

    def _gradients(self) -> list[Tensor]:
        return [cast(Tensor, parameter.grad) for parameter in self._parameters.values()]

    def _update_weights(self) -> None:
        """Apply the gradients with AdamW.

        ``torch.optim.AdamW`` does the same, but imports PyTorch's compiler: two seconds and 150 MB.
        """
        steps = self._finished_steps.repeat(len(self._parameters))
        adamw(
            list(self._parameters.values()),
            self._gradients(),
            list(self._averages.values()),
            list(self._squares.values()),
            max_exp_avg_sqs=[],
            state_steps=list(steps.unbind()),
            fused=True,
            amsgrad=False,
            beta1=0.9,
            beta2=0.99,
            lr=self._learning_rate,
            weight_decay=0.05,
            eps=1e-8,
            maximize=False,
        )

    def _progress(self, epoch: int, batch: int, steps: int, start: float) -> Progress:
        """Return the progress, with the speed of the steps that were taken since the start."""
        loss = self._epoch_loss.item() / batch
        if not math.isfinite(loss):
            raise self._divergence()
        accuracy = self._epoch_correct.item() / (batch * self._batch_size)
        # Reading the loss has waited for the device: its time counts.
        speed = steps * self._batch_size / (time.monotonic() - start)
        return Progress(
            epoch + 1, self.settings.epochs, batch, self._batches, loss, accuracy, speed
        )

    def _divergence(self) -> MnistctlError:
        epoch = math.ceil(self.step / self._batches)
        return MnistctlError(
            f"training diverged in epoch {epoch} (the loss is not a finite number): try an --lr "
            f"below {self.settings.learning_rate:g}"
        )

    def _tensors(self) -> dict[str, Tensor]:
        """Return the tensors that change during the training, not copied, by name."""
        return {
            **{f"network.{name}": value for name, value in self.network.state_dict().items()},
            **{f"optimizer.{name}.average": value for name, value in self._averages.items()},
            **{f"optimizer.{name}.square": value for name, value in self._squares.items()},
            "epoch.loss": self._epoch_loss,
            "epoch.correct": self._epoch_correct,
        }


def learning_rate(step: int, steps: int, highest: float) -> float:
    """Return the learning rate of a step, from 0, in a one-cycle schedule.

    It rises from a tenth of the highest during 30 % of the steps, then falls to a ten-thousandth,
    both along a cosine (L. Smith and N. Topin, "Super-convergence", 2018).
    """
    peak, last = 0.3 * steps - 1, steps - 1
    if step <= peak:
        start, end, fraction = highest / 10, highest, step / peak
    else:
        start, end, fraction = highest, highest / 10_000, (step - peak) / (last - peak)
    return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))


def choose_device(name: str) -> torch.device:
    """Return a device by name: ``auto`` (the fastest available), ``cpu``, ``cuda`` or ``mps``.

    Of several processes, each gets a GPU of its own.

    Raises:
        MnistctlError: this machine, or this build of PyTorch, does not have it, or it cannot train
            in several processes.
    """
    if name == "mps" and distributed.count() > 1:
        raise MnistctlError("--device mps trains in one process: use --device cpu for several")
    cuda = torch.cuda.is_available()
    # Gloo and NCCL, with which processes communicate, know no device of Apple's.
    mps = torch.backends.mps.is_available() and distributed.count() == 1
    available = {"cuda": cuda, "mps": mps, "cpu": True}
    if name == "auto":
        name = next(device for device, found in available.items() if found)
    if not available[name]:
        raise MnistctlError(
            f"--device {name}: PyTorch {torch.__version__} finds no such device (in a container, "
            "use mnistctl:gpu and docker run --gpus all): use --device auto"
        )
    if name != "cuda" or distributed.count() == 1:
        return torch.device(name)
    index, gpus = distributed.local_rank(), torch.cuda.device_count()
    if index >= gpus:
        raise MnistctlError(
            f"--device cuda: there is a GPU for only {gpus} of this machine's processes: start "
            "fewer processes, or use --device cpu"
        )
    return torch.device(name, index)


@contextmanager
def _memory_errors() -> Iterator[None]:
    """Turn PyTorch's errors about memory into one for the user."""
    try:
        yield
    except RuntimeError as error:
        # The class of the error depends on the device, and on what needs the memory.
        if any(text in str(error) for text in ("out of memory", "can't allocate memory")):
            raise MnistctlError(
                "training needs more memory than there is: use a smaller --batch-size, or another "
                "--device"
            ) from error
        raise


def _shapes_and_dtypes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[torch.Size, torch.dtype]]:
    """Return the shape and the dtype of each tensor."""
    return {name: (tensor.shape, tensor.dtype) for name, tensor in tensors.items()}


def _has_fast_bfloat16(device: torch.device) -> bool:
    """Say whether training in bfloat16 is faster than in float32, also beside other work."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    # An older PyTorch cannot tell.
    capabilities = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    if capabilities.get("amx_bf16") and torch.get_num_threads() > 1:
        # With AMX, the threads wait for each other in a busy loop (oneDNN's gradients of weights).
        # Beside another training, they take 40 times as long.
        return False
    return device.type == "cpu" and bool(capabilities.get("avx512_bf16"))
