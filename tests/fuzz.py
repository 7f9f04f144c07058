"""Give damaged files to every reader of mnistctl: ``python -m tests.fuzz``.

Each case must succeed or raise one MnistctlError that is a line of printable text. It must not
raise anything else, crash, print, take longer than 20 seconds or use more than 4 GiB.

A case depends on its seed, kind and number only. Processes of up to 500 cases each announce every
case before they run it, so that a crash or a hang is known by its number.
"""

import argparse
import ctypes
import gzip
import io
import json
import math
import multiprocessing
import os
import resource
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random
from typing import Any, TypeAlias

# A case mutates a file with the random numbers it is given, and reads it.
Case = Callable[[Random], object]
# ``started``, ``accepted``, ``refused`` or ``failed``, and why it failed.
Outcome = tuple[str, str]
Results: TypeAlias = "Connection[Any, Any]"

DEFAULTS = {"models": 5_000, "checkpoints": 2_000, "datasets": 2_000, "images": 20_000}
CASE_SECONDS = 20.0
_START_SECONDS = 300.0
_MEMORY = 4 * 2**30
_MAX_MESSAGE = 1_000
CHUNK = 500

_INTEGERS = tuple(2**n + d for n in (0, 5, 7, 8, 15, 16, 24, 31, 32, 63) for d in (-1, 0, 1))
_FLOATS = (0.0, -1.0, 1e-45, 1e30, math.inf, -math.inf, math.nan)
_TEXTS = ("", "batch", "é\n\x1b[31m", "%s{}", "../../etc/passwd", "x" * 5_000, "1" * 5_000)
# Replaced in the serialised file by as many bytes that are not UTF-8.
_NOT_UTF8 = (b"<not utf-8>", b"\xff\xfe\x80\xc0\xaf\xed\xa0\x80\xf5\n\x1b")


def mutate(rng: Random, data: bytes, other: bytes) -> bytes:
    """Return damaged bytes; ``other`` is a file of the same kind to take parts from."""
    result = bytearray(data)
    for _ in range(rng.choice((0, 1, 1, 1, 2, 4, 16))):
        # The headers are near the start and the end.
        near = int(rng.expovariate(1 / 64))
        at = rng.choice((near, -near, rng.randrange(2**31))) % max(1, len(result))
        end = at + rng.choice((1, 2, 4, 16, 256, 4096))
        match rng.randrange(7):
            case 0:
                result[at : at + 1] = rng.randbytes(1)
            case 1:
                del result[at:]
            case 2:
                del result[at:end]
            case 3:
                result[at:at] = result[at:end] * rng.choice((1, 1, 8))
            case 4:
                start = rng.randrange(len(other))
                result[at:end] = other[start : start + end - at]
            case _:
                width, order = rng.choice((1, 2, 4, 8)), rng.choice(("big", "little"))
                value = rng.choice(_INTEGERS) % 2 ** (8 * width)
                result[at : at + width] = value.to_bytes(width, order)
    return bytes(result)


def models(_directory: Path) -> Case:
    """Fuzz model files: the bundled one, and one so small that damage hits its structure."""
    import numpy as np
    import onnx

    from mnistctl.classifier import BUNDLED, Classifier

    bundled = BUNDLED.read_bytes()
    small = onnx.parser.parse_model(
        '<ir_version: 8, opset_import: ["" : 17]> m (float[batch, 1, 28, 28] images)'
        " => (float[batch, 10] logits) <float[1, 10] w = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9}>"
        " { p = GlobalAveragePool(images) f = Flatten(p) logits = Gemm(f, w) }"
    ).SerializeToString()
    digit = np.zeros((1, 28, 28), np.float32)

    def case(rng: Random) -> None:
        data, other = rng.sample((bundled, small), 2)
        if rng.random() < 0.6:
            model = onnx.load_model_from_string(data)
            for _ in range(rng.choice((1, 1, 2, 4))):
                _mutate_message(rng, model)
            data = model.SerializeToString().replace(*_NOT_UTF8)
        else:
            data = mutate(rng, data, other)
        (prediction,) = Classifier(data, "model").predict(digit)
        assert 0 <= prediction.digit <= 9
        assert abs(sum(prediction.probabilities) - 1) < 1e-6

    return case


def _mutate_message(rng: Random, message: Any) -> None:
    """Change a random field of a protobuf message, or of a message within it."""
    used = [descriptor for descriptor, _ in message.ListFields()]
    field = rng.choice(used if used and rng.random() < 0.8 else message.DESCRIPTOR.fields)
    value, is_message = getattr(message, field.name), field.type == field.TYPE_MESSAGE
    is_repeated = hasattr(value, "extend")
    if rng.random() < 0.1:
        message.ClearField(field.name)
    elif is_repeated and (not value or rng.random() < 0.2):
        if value:
            del value[rng.randrange(len(value))]
        elif is_message:
            value.add()
        else:
            value.append(_mutate_value(rng, field))
    elif is_message:
        _mutate_message(rng, rng.choice(value) if is_repeated else value)
    elif is_repeated:
        value[rng.randrange(len(value))] = _mutate_value(rng, field)
    else:
        setattr(message, field.name, _mutate_value(rng, field, value))


def _mutate_value(rng: Random, field: Any, value: Any = b"") -> Any:
    """Return another value for a scalar field of a protobuf message."""
    if field.type == field.TYPE_STRING:
        return rng.choice((*_TEXTS, _NOT_UTF8[0].decode()))
    if field.type == field.TYPE_BYTES:
        return mutate(rng, value, b"bytes")
    if field.type == field.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    if field.type in (field.TYPE_FLOAT, field.TYPE_DOUBLE):
        return rng.choice(_FLOATS)
    if field.type in (field.TYPE_INT32, field.TYPE_INT64):
        bits = 31 if field.type == field.TYPE_INT32 else 63
        return rng.choice(_INTEGERS) % 2**bits * rng.choice((1, 1, -1))
    return rng.choice(_INTEGERS) % 2**31


def checkpoints(directory: Path) -> Case:
    """Fuzz checkpoints of a training with few images."""
    import torch

    from mnistctl.dataset import Dataset, load_dataset
    from mnistctl.settings import TrainSettings
    from mnistctl.training.loop import Training

    test = load_dataset("test")
    data = Dataset(test.images[:32], test.labels[:32])
    path, device = directory / "checkpoint", torch.device("cpu")
    Training(TrainSettings(epochs=2, batch_size=16, threads=1), data, device).save(path)
    saved = path.read_bytes()
    start = 8 + int.from_bytes(saved[:8], "little")
    # safetensors writes the metadata in any order.
    valid_header = json.dumps(json.loads(saved[8:start]), sort_keys=True)
    valid = _checkpoint(valid_header, saved[start:])

    def case(rng: Random) -> None:
        if rng.random() < 0.7:
            header, tensors = json.loads(valid_header), bytearray(saved[start:])
            metadata = header["__metadata__"]
            settings = json.loads(metadata["settings"])
            for _ in range(rng.choice((1, 1, 2, 4))):
                if target := rng.choice((header, metadata, settings, None)):
                    _mutate_json(rng, target)
                else:
                    offset = rng.randrange(0, len(tensors), 4)
                    struct.pack_into("<f", tensors, offset, rng.choice(_FLOATS))
            if metadata.get("settings"):
                metadata["settings"] = json.dumps(settings)
            content = _checkpoint(json.dumps(header), tensors)
        else:
            content = mutate(rng, valid, valid)
        path.write_bytes(content)
        training = Training.resume(path, {}, data, device)
        assert 0 <= training.step <= 2 * training.settings.epochs * len(data)

    return case


def _checkpoint(header: str, tensors: bytes | bytearray) -> bytes:
    """Return a safetensors file."""
    return len(header.encode()).to_bytes(8, "little") + header.encode() + tensors


def _mutate_json(rng: Random, value: Any) -> None:
    """Change a random member of a JSON object or array, or of one within it."""
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    if isinstance(value[key], dict | list) and value[key] and rng.random() < 0.9:
        _mutate_json(rng, value[key])
    elif rng.random() < 0.2:
        del value[key]
    elif isinstance(value, dict) and rng.random() < 0.2:
        value[rng.choice(_TEXTS)] = value.pop(key)
    else:
        number = rng.choice((*_INTEGERS, *_FLOATS, 10**400)) * rng.choice((1, -1))
        dtype = rng.choice(("F64", "BF16", "F8_E8M0", "F4", "U64", "BOOL", "C64"))
        text = rng.choice((*_TEXTS, str(number), dtype, "[" * 100_000))
        value[key] = rng.choice((number, text, text, None, True, [], {}, [number]))


def datasets(directory: Path) -> Case:
    """Fuzz the IDX files of a data set: MNIST's or QMNIST's, gzipped or not."""
    from mnistctl.dataset import load_dataset

    test = load_dataset("test")
    images = b"\0\0\x08\x03" + struct.pack(">3I", 16, 28, 28) + test.images[:16].tobytes()
    labels = b"\0\0\x08\x01" + struct.pack(">I", 16) + test.labels[:16].tobytes()
    columns = b"".join(struct.pack(">8I", label, *range(7)) for label in test.labels[:16])
    wide_labels = b"\0\0\x0c\x02" + struct.pack(">2I", 16, 8) + columns
    layouts = (
        {"train-images-idx3-ubyte": images, "train-labels-idx1-ubyte": labels},
        {"qmnist-train-images-idx3-ubyte": images, "qmnist-train-labels-idx2-int": wide_labels},
    )

    def case(rng: Random) -> None:
        with tempfile.TemporaryDirectory(dir=directory) as name:
            folder = Path(name) / rng.choice((".", ".", "MNIST/raw", "QMNIST/raw"))
            folder.mkdir(parents=True, exist_ok=True)
            layout = rng.choice(layouts)
            damaged = rng.sample(sorted(layout), rng.choice((1, 1, 2)))
            for file, content in layout.items():
                suffix, stage = rng.choice(("", ".gz")), rng.randrange(3)
                if file in damaged and (stage or not suffix):
                    content = _mutate_idx(rng, content)
                if suffix:
                    content = gzip.compress(content, 1, mtime=0)
                    if file in damaged and stage != 1:
                        content = mutate(rng, content, gzip.compress(labels, 1, mtime=0))
                (folder / f"{file}{suffix}").write_bytes(content)
            load_dataset("train", Path(name))

    return case


def _mutate_idx(rng: Random, content: bytes) -> bytes:
    """Return a damaged IDX file: anywhere, or only in its header."""
    if rng.random() < 0.5:
        return mutate(rng, content, content)
    header, size = bytearray(content[:16]), 4 + 4 * content[3]
    if rng.random() < 0.5:
        header[rng.randrange(4)] = rng.choice((0, 1, 2, 3, 4, 8, 9, 0x0B, 0x0C, 0x0D, 0x0E, 255))
    else:
        at = rng.randrange(4, size, 4)
        header[at : at + 4] = struct.pack(">I", rng.choice(_INTEGERS) % 2**32)
    return bytes(header) + content[16:]


def images(directory: Path) -> Case:
    """Fuzz image files of every format, opened or by their path."""
    from mnistctl.images import read_image

    files = list(_image_files())
    path = directory / "image"

    def case(rng: Random) -> None:
        data = mutate(rng, *rng.sample(files, 2))
        if rng.random() < 0.5:
            data = _repair_png(data)
        if rng.random() < 0.8:
            digit = read_image(io.BytesIO(data))
        else:
            path.write_bytes(data)
            digit = read_image(path)
        assert digit.shape == (28, 28)
        assert digit.dtype == "float32"
        assert 0 <= digit.min() < digit.max() <= 1

    return case


def _image_files() -> Iterator[bytes]:
    """Yield valid files: digits of MNIST in several sizes, formats and modes."""
    from PIL import Image, features

    from mnistctl.dataset import load_dataset

    rotated = Image.Exif()
    rotated[0x0112] = 6
    variants: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("PNG", "1 L LA P RGB RGBA I;16", {}),
        ("PNG", "L P", {"transparency": 0}),
        ("JPEG", "L RGB CMYK", {}),
        ("JPEG", "L", {"progressive": True}),
        ("JPEG", "RGB", {"exif": rotated}),
        ("GIF", "L P", {}),
        ("GIF", "P", {"transparency": 0}),
        ("GIF", "RGB", {"save_all": True}),
        ("BMP", "1 L P RGB RGBA", {}),
        ("PPM", "1 L RGB I F", {}),
        ("WEBP", "RGB RGBA", {}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("WEBP", "RGB", {"save_all": True}),
        ("AVIF", "L RGBA", {"speed": 10}),
        ("AVIF", "RGB", {"speed": 10, "exif": rotated}),
    )
    digits = load_dataset("test").images
    for index, size in enumerate(((28, 28), (1, 1), (3, 40), (300, 200))):
        digit = Image.fromarray(digits[index]).resize(size)
        for name, modes, options in variants:
            if name == "AVIF" and not features.check("avif"):
                continue
            for mode in modes.split():
                image, file = digit.convert(mode), io.BytesIO()
                frames = {"append_images": [image.rotate(90)]} if "save_all" in options else {}
                image.save(file, name, **options, **frames)
                yield file.getvalue()
    yield from (b"P1 3 2 0 1 0 1 1 0", b"P2 3 2 9 0 1 2 3 4 5", b"P3 1 2 9 0 1 2 3 4 5")


def _repair_png(data: bytes) -> bytes:
    """Return a PNG file with right checksums, so that its damage gets further than these."""
    result, at = bytearray(data), 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if end + 4 > len(data):
            break
        result[end : end + 4] = struct.pack(">I", zlib.crc32(data[at + 4 : end]))
        at = end + 4
    return bytes(result)


KINDS: dict[str, Callable[[Path], Case]] = {
    "checkpoints": checkpoints,
    "models": models,
    "datasets": datasets,
    "images": images,
}


def random_numbers(seed: int, kind: str, number: int) -> Random:
    """Return the random numbers of a case."""
    return Random(f"{seed}/{kind}/{number}")


def attempt(case: Case, rng: Random) -> Outcome:
    """Run a case and return what came of it."""
    from mnistctl.errors import MnistctlError

    try:
        case(rng)
    except MnistctlError as error:
        message = str(error)
        if message.isprintable() and 0 < len(message) <= _MAX_MESSAGE:
            return "refused", ""
        return "failed", f"gave a message of {len(message)} characters: {message[:200]!r}"
    except BaseException as error:  # a panic of Rust code is no Exception
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return "failed", f"raised {error!r:.200} at {frame.filename}:{frame.lineno}"
    return "accepted", ""


def work(kind: str, seed: int, numbers: range, directory: Path, results: Results) -> None:
    """Run cases in a process of their own: announce each, then send what came of it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # as the command line does
    case = KINDS[kind](Path(tempfile.mkdtemp(dir=directory)))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + _MEMORY, resource.RLIM_INFINITY))
    libc = ctypes.CDLL(None)
    with tempfile.TemporaryFile(dir=directory) as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
        for number in numbers:
            results.send((number, ("started", "")))
            verdict, reason = attempt(case, random_numbers(seed, kind, number))
            sys.stdout.flush()
            sys.stderr.flush()
            libc.fflush(None)
            if os.fstat(1).st_size:
                output.seek(0)
                verdict, reason = "failed", f"printed {output.read()[:200]!r} {reason}".rstrip()
                output.seek(0)
                output.truncate()
            results.send((number, (verdict, reason)))


@dataclass
class Worker:
    """A process that runs cases: the last that it announced, and when it last sent anything."""

    kind: str
    numbers: range
    process: BaseProcess
    results: Results
    number: int | None = None
    since: float = field(default_factory=time.monotonic)

    def patience(self) -> float:
        """Return the seconds until the process counts as hanging."""
        limit = _START_SECONDS if self.number is None else CASE_SECONDS
        return max(0, self.since + limit - time.monotonic())

    def receive(self, outcomes: dict[int, Outcome]) -> str | None:
        """Take one message; return how the process ended, or None while it runs."""
        try:
            if self.results.poll():
                self.number, outcome = self.results.recv()
                self.since = time.monotonic()
                outcomes[self.number] = outcome
            elif not self.patience():
                self.process.kill()
                self.process.join()
                return f"took longer than {CASE_SECONDS:g} seconds"
        except (EOFError, OSError):
            self.process.join()
            status = self.process.exitcode or 0
            name = signal.Signals(-status).name if status < 0 else f"status {status}"
            return f"ended the process ({name})" if status else ""
        return None


def fuzz(counts: dict[str, int], seed: int, jobs: int) -> dict[str, dict[int, Outcome]]:
    """Run the cases 0 to N - 1 of each kind in parallel; return what came of each."""
    outcomes: dict[str, dict[int, Outcome]] = {kind: {} for kind in counts}
    chunks = deque(
        (kind, range(start, min(start + CHUNK, count)))
        for kind, count in counts.items()
        for start in range(0, count, CHUNK)
    )
    running: list[Worker] = []
    with tempfile.TemporaryDirectory() as directory:
        while chunks or running:
            while chunks and len(running) < jobs:
                running.append(_start(*chunks.popleft(), seed, Path(directory)))
            wait([worker.results for worker in running], min(w.patience() for w in running))
            for worker in running[:]:
                end = worker.receive(outcomes[worker.kind])
                if end is None:
                    continue
                running.remove(worker)
                if not end:
                    continue
                if worker.number is None:
                    raise SystemExit(f"{worker.kind}: no case could be started")
                outcomes[worker.kind][worker.number] = ("failed", end)
                if rest := range(worker.number + 1, worker.numbers.stop):
                    chunks.appendleft((worker.kind, rest))
    return outcomes


def _start(kind: str, numbers: range, seed: int, directory: Path) -> Worker:
    # A fork is safe: this process has loaded no library and started no thread.
    context = multiprocessing.get_context("fork")
    results, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=work, args=(kind, seed, numbers, directory, sender), daemon=True
    )
    process.start()
    sender.close()
    return Worker(kind, numbers, process, results)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status: 1 if a case failed."""
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=__doc__)
    for kind, count in DEFAULTS.items():
        parser.add_argument(f"--{kind}", type=int, default=count, metavar="N")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", metavar="KIND:NUMBER", help="run one case in this process")
    options = parser.parse_args(arguments)
    if options.only:
        kind, _, number = options.only.partition(":")
        with tempfile.TemporaryDirectory() as directory:
            KINDS[kind](Path(directory))(random_numbers(options.seed, kind, int(number)))
        return 0

    start = time.monotonic()
    outcomes = fuzz({kind: getattr(options, kind) for kind in KINDS}, options.seed, options.jobs)
    lines = [f"{'kind':12} {'cases':>8} {'accepted':>8} {'refused':>8} {'failed':>8}"]
    failures = []
    for kind, results in outcomes.items():
        totals = Counter(verdict for verdict, _ in results.values())
        columns = (len(results), totals["accepted"], totals["refused"], totals["failed"])
        lines.append(f"{kind:12}" + "".join(f" {column:8,}" for column in columns))
        for number, (verdict, reason) in sorted(results.items()):
            if verdict == "failed":
                failures.append(f"{kind} {number} {reason}")
                failures.append(
                    f"  python -m tests.fuzz --seed {options.seed} --only {kind}:{number}"
                )
    lines.append(f"seed {options.seed}, {time.monotonic() - start:.0f} s")
    sys.stdout.write("\n".join([*failures, *lines]) + "\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
