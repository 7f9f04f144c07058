"""The talk's ladder of Dockerfiles and ours, built one after the other: their size and their times.

    python -m benchmarks.images TORCH_WHEELS

TORCH_WHEELS is a directory with the wheels of torch and torchvision that requirements/torch-cpu.txt
pins, for the Python of --slim: every Dockerfile installs those. The engine's build cache is emptied
before each first build, cache mounts included: name a builder of its own (docker buildx create
--use), or an engine of its own (DOCKER_HOST).
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import machine, table, write_section

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
LADDER = [
    ("rung-0", "initial"),
    ("rung-1", "layer ordering"),
    ("rung-2", "pinned, no pip cache"),
    ("rung-3", "slim base, g++ purged"),
    ("rung-4", "one layer for that"),
    ("rung-5", "multi-stage"),
    ("rung-6", "multi-stage, cache mount"),
]
# A small dependency and the release before it, with its hash.
DEPENDENCY = "shellingham"
BEFORE = "1.5.3"
BEFORE_HASH = "cb4a6fec583535bc6da17b647dd2330cf7ef30239e05d547d99ae3705fd0f7f8"


@dataclass(frozen=True)
class Figures:
    """What one Dockerfile comes to: bytes of the image, and seconds."""

    size: int
    first: float
    code: float
    cpp: float
    dependency: float


@dataclass(frozen=True)
class Build:
    """A Dockerfile's target, a copy of what it is built from, and what in it is changed."""

    target: str
    context: Path
    arguments: list[str]
    code: Path
    cpp: Path
    change_dependency: Callable[[], None]

    def figures(self) -> Figures:
        """Build from nothing, then after each change."""
        docker("buildx", "prune", "--all", "--force")
        first = self.seconds()
        size = int(docker("image", "inspect", "--format={{.Size}}", self.tag))
        append(self.code, "# changed\n")
        code = self.seconds()
        append(self.cpp, "// changed\n")
        cpp = self.seconds()
        self.change_dependency()
        dependency = self.seconds()
        docker("image", "rm", "--force", self.tag)
        return Figures(size, first, code, cpp, dependency)

    @property
    def tag(self) -> str:
        """The image's name."""
        return f"mnistctl-benchmark:{self.target}"

    def seconds(self) -> float:
        """Build and tag the image."""
        began = time.perf_counter()
        docker(
            *("buildx", "build", f"--target={self.target}", f"--tag={self.tag}", "--load"),
            *self.arguments,
            str(self.context),
        )
        return time.perf_counter() - began


def docker(*arguments: str) -> str:
    """Run docker and return what it printed.

    Raises:
        SystemExit: it failed.
    """
    result = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"docker {' '.join(arguments)}\n{result.stderr}")
    return result.stdout


def append(path: Path, line: str) -> None:
    """Add a line to a file."""
    with path.open("a") as file:
        file.write(line)


def pins(*names: str) -> list[str]:
    """Return the pins of requirement files, without their hashes."""
    text = "".join((ROOT / "requirements" / name).read_text() for name in names)
    return re.findall(r"^[a-z0-9-]+==[^\\\n]+", text, re.M)


def index(wheels: Path, directory: Path) -> Path:
    """Make a package index of a directory of wheels, for pip's --find-links and for uv."""
    directory.mkdir()
    for wheel in wheels.glob("torch*.whl"):
        shutil.copy(wheel, directory)
        project = directory / wheel.name.split("-")[0]
        project.mkdir()
        (project / "index.html").write_text(f'<a href="../{wheel.name}">{wheel.name}</a>')
    return directory


def ladder(target: str, directory: Path, arguments: list[str]) -> Build:
    """Lay out a rung of the ladder: mnistctl, with the talk's extension."""
    shutil.copytree(HERE / "ladder", directory)
    shutil.copytree(ROOT / "mnistctl", directory / "mnistctl", ignore=built_files)
    pinned = pins("inference.txt", "training.txt", "torch-cpu.txt", "build.txt")
    (directory / "pinned.txt").write_text("\n".join(pinned) + "\n")
    torch = pins("torch-cpu.txt")
    names = {re.split("[=; ]", pin)[0] for pin in pinned} - {"torch", "torchvision"}
    (directory / "requirements.txt").write_text("\n".join([*sorted(names), *torch]) + "\n")

    def change_dependency() -> None:
        for name in ("pinned.txt", "requirements.txt"):
            path = directory / name
            line = f"{DEPENDENCY}=={BEFORE}"
            path.write_text(re.sub(rf"^{DEPENDENCY}\b.*", line, path.read_text(), flags=re.M))

    return Build(
        target,
        directory,
        [f"--file={HERE / 'Dockerfile.ladder'}", *arguments],
        directory / "mnistctl/cli.py",
        directory / "argmax.cpp",
        change_dependency,
    )


def ours(target: str, directory: Path, arguments: list[str]) -> Build:
    """Lay out a target of the Dockerfile in the root."""
    directory.mkdir()
    for name in ("Dockerfile", ".dockerignore", "LICENSE", "pyproject.toml", "setup.py"):
        shutil.copy(ROOT / name, directory)
    for name in ("csrc", "docker", "mnistctl", "requirements"):
        shutil.copytree(ROOT / name, directory / name, ignore=built_files)

    def change_dependency() -> None:
        path = directory / "requirements/inference.txt"
        pin = f"{DEPENDENCY}=={BEFORE} --hash=sha256:{BEFORE_HASH}\n"
        hashed = rf"^{DEPENDENCY}==.*\\\n(?:    --hash=.*\n)+"
        path.write_text(re.sub(hashed, pin, path.read_text(), flags=re.M))

    return Build(
        target,
        directory,
        arguments,
        directory / "mnistctl/cli.py",
        directory / "csrc/argmax.cpp",
        change_dependency,
    )


built_files = shutil.ignore_patterns("__pycache__", "*.so")


def row(name: str, figures: Figures, last: Figures) -> list[str]:
    """Return a row of the table: each figure, and what share of the ladder's last it is."""
    times = (figures.first, figures.code, figures.cpp, figures.dependency)
    shares = (last.first, last.code, last.cpp, last.dependency)
    return [
        name,
        f"{figures.size / 1e6:,.0f} MB ({figures.size / last.size:.2f})",
        *(f"{took:.1f} s ({took / of:.2f})" for took, of in zip(times, shares, strict=True)),
    ]


def gpu() -> str:
    """Compare the image for the GPU with what pip alone makes on the same base."""
    plain = [pin.strip() for pin in pins("torch-gpu.txt") if pin.startswith("torch")]
    ladder_file = f"--file={HERE / 'Dockerfile.ladder'}"
    docker(
        *("buildx", "build", "--target=plain-gpu", "--tag=mnistctl-benchmark:plain", "--load"),
        *(f"--build-arg=GPU_PINS={' '.join(plain)}", ladder_file, str(HERE / "ladder")),
    )
    docker("buildx", "build", "--target=gpu", "--tag=mnistctl-benchmark:gpu", "--load", str(ROOT))
    sizes = {}
    for name in ("plain", "gpu"):
        image = f"mnistctl-benchmark:{name}"
        sizes[name] = int(docker("image", "inspect", "--format={{.Size}}", image)) / 1e6
        docker("image", "rm", "--force", image)
    return (
        f"`mnistctl:gpu` is {sizes['gpu']:,.0f} MB; `pip install {' '.join(plain)}` makes an image "
        f"of {sizes['plain']:,.0f} MB ({sizes['gpu'] / sizes['plain']:.2f}), both on the "
        "Dockerfile's own base."
    )


def main() -> None:
    """Measure and write the section of benchmarks/README.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", type=Path, help="a directory with wheels of torch, torchvision")
    parser.add_argument("--full", default="python:3.13-trixie", help="the base with a compiler")
    parser.add_argument("--slim", default="python:3.13-slim-trixie", help="the base without")
    parser.add_argument("--gpu", action="store_true", help="build the images for the GPU as well")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        wheels = index(options.wheels, work / "torch-index")
        common = [f"--build-context=torch-index={wheels}"]
        bases = [f"--build-arg=FULL={options.full}", f"--build-arg=SLIM={options.slim}"]
        own = [
            f"--build-arg=BASE={options.slim}",
            f"--build-arg=TOOLCHAIN={options.full}",
            "--build-arg=TORCH_INDEX=file:///torch-index",
        ]
        builds = {
            **{
                f"{target[-1]}, {what}": ladder(target, work / target, common + bases)
                for target, what in LADDER
            },
            "mnistctl:cpu": ours("cpu", work / "cpu", common + own),
            "mnistctl:predict": ours("predict", work / "predict", common + own),
        }
        found = {}
        for name, build in builds.items():
            found[name] = build.figures()
            print(name, found[name], file=sys.stderr, flush=True)

    last = found[f"{LADDER[-1][0][-1]}, {LADDER[-1][1]}"]
    header = ["Dockerfile", "size", "first build", "code change", "C++ change", "dependency change"]
    rows = [row(name, figures, last) for name, figures in found.items()]
    versions = " and ".join(pins("torch-cpu.txt"))
    write_section(
        "images",
        f"{table(header, rows)}\n\nIn parentheses the share of rung 6. On {options.full} and "
        f"{options.slim}, with {versions}; {machine()}." + (f"\n\n{gpu()}" if options.gpu else ""),
    )


if __name__ == "__main__":
    main()
