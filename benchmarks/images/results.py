"""The figures on record, and the section of benchmarks/README.md that shows them."""

import json
from dataclasses import asdict, astuple, dataclass
from pathlib import Path

from benchmarks.measure import table

FILE = Path(__file__).with_name("results.json")
# The Dockerfile that the others are compared with, and the images that are this project's.
REFERENCE = "6, multi-stage, cache mount"
OWN = ("mnistctl:cpu", "mnistctl:predict", "mnistctl:service")
# Rebuilds after a changed line that take less than SHORT seconds are measured REPEATS times.
SHORT, REPEATS = 10, 5


@dataclass(frozen=True)
class Figures:
    """Image sizes in bytes, and build times in seconds.

    Attributes:
        size: the image on disk.
        compressed: the image after gzip, about what a registry sends.
        first: the build with an empty cache.
        python: the rebuild after a change to one Python line; the median of several if it is short.
        cpp: the rebuild after a change to one C++ line, likewise.
        dependency: the rebuild after another version of a small dependency.
    """

    size: int
    compressed: int
    first: float
    python: float
    cpp: float
    dependency: float


@dataclass(frozen=True)
class GpuSizes:
    """Image sizes in bytes: `mnistctl:gpu`, and what pip installs on the same base."""

    mnistctl: int
    pip: int
    pins: list[str]


@dataclass(frozen=True)
class Results:
    """One run of the benchmark.

    Attributes:
        builds: the figures of each Dockerfile, by name.
        prediction: seconds of `docker run ... predict` minus those of `docker run BASE true`.
        gpu: None if the images for the GPU were not built.
    """

    full: str
    slim: str
    torch: list[str]
    machine: str
    builds: dict[str, Figures]
    prediction: float
    gpu: GpuSizes | None

    @classmethod
    def load(cls) -> "Results":
        """Read the results on record."""
        values = json.loads(FILE.read_text())
        values["builds"] = {name: Figures(**build) for name, build in values["builds"].items()}
        values["gpu"] = values["gpu"] and GpuSizes(**values["gpu"])
        return cls(**values)

    def save(self) -> None:
        """Replace the results on record."""
        FILE.write_text(json.dumps(asdict(self), indent=2) + "\n")

    def section(self) -> str:
        """Return the text for benchmarks/README.md."""
        header = ["Dockerfile", "size", "compressed", "first build"]
        header += ["Python change", "C++ change", "dependency change"]
        reference = self.builds[REFERENCE]
        rows = [_row(name, build, reference) for name, build in self.builds.items()]
        paragraphs = [
            table(header, rows),
            "In parentheses: the ratio to rung 6. A rebuild after a changed line that takes less "
            f"than {SHORT} s is repeated: the table has the median of {REPEATS}. "
            "Compressed: the bytes that `docker save IMAGE | "
            "gzip` writes, about what a registry sends. "
            f"Bases: {self.full} and {self.slim}. PyTorch: {' and '.join(self.torch)}. "
            f"Machine: {self.machine}.",
            "`docker run mnistctl:predict predict img.png` takes "
            f"{self.prediction:.2f} s longer than `docker run BASE true` (medians of 15 runs).",
        ]
        if self.gpu:
            paragraphs.append(
                f"`mnistctl:gpu` is {_megabytes(self.gpu.mnistctl)}. "
                f"`pip install {' '.join(self.gpu.pins)}` makes an image of "
                f"{_megabytes(self.gpu.pip)} (ratio {self.gpu.mnistctl / self.gpu.pip:.2f}). "
                "Both use the Dockerfile's own base."
            )
        return "\n\n".join(paragraphs)


def _row(name: str, build: Figures, reference: Figures) -> list[str]:
    """Return a row of the table: each figure, and its ratio to the reference."""
    values, others = astuple(build), astuple(reference)
    ratios = [f"({own / other:.2f})" for own, other in zip(values, others, strict=True)]
    sizes = [_megabytes(value) for value in values[:2]]
    times = [f"{value:.1f} s" for value in values[2:]]
    return [name, *map(" ".join, zip(sizes + times, ratios, strict=True))]


def _megabytes(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
