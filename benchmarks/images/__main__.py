"""Build seven other Dockerfiles and ours, one after the other, and record their size and times.

    python -m benchmarks.images TORCH_WHEELS
    python -m benchmarks.images --redraw

TORCH_WHEELS is a directory with the wheel of torch that requirements/torch-cpu.txt pins, for the
Python version of --slim. Every Dockerfile installs it from there. The benchmark empties the
engine's build cache before each first build, cache mounts included. Give it an engine of its own
(DOCKER_HOST), which has the base images.

It writes results.json and chart.svg in this directory, and the table in benchmarks/README.md.
--redraw writes the chart and the table from results.json.
"""

import argparse
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.images import chart
from benchmarks.images.results import REPEATS, SHORT, Figures, GpuSizes, Results
from benchmarks.measure import alternate, machine, seconds, write_section

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
LADDER_FILE = f"--file={HERE / 'Dockerfile.ladder'}"
LADDER = {
    "0, initial": "rung-0",
    "1, layer ordering": "rung-1",
    "2, pinned, no pip cache": "rung-2",
    "3, slim base, g++ purged": "rung-3",
    "4, one layer for that": "rung-4",
    "5, multi-stage": "rung-5",
    "6, multi-stage, cache mount": "rung-6",
}
# A small dependency, its previous release, and that release's hash.
DEPENDENCY = "shellingham"
PREVIOUS = "1.5.3"
PREVIOUS_HASH = "419c6a164770c9c7cfcaeddfacb3d31ac7a8db0b0f3e9c1287679359734107e9"
PREDICTIONS = 15


@dataclass(frozen=True)
class Build:
    """A target of a Dockerfile, how docker builds it, and what changes in its build context."""

    target: str
    context: Path
    command: list[str]
    python: Path
    cpp: Path
    change_dependency: Callable[[], None]

    def measure(self) -> Figures:
        """Build with an empty cache, then after each change."""
        docker("buildx", "prune", "--all", "--force")
        first = self.build()
        size, compressed = image_size(self.tag), compressed_size(self.tag)
        python = self.rebuild_after(lambda: append_line(self.python, "# changed\n"))
        cpp = self.rebuild_after(lambda: append_line(self.cpp, "// changed\n"))
        self.change_dependency()
        dependency = self.build()
        docker("image", "rm", "--force", self.tag)
        return Figures(size, compressed, first, python, cpp, dependency)

    def rebuild_after(self, change: Callable[[], None]) -> float:
        """Return the seconds of a build after a change; the median of several if it is short."""
        times: list[float] = []
        while not times or (times[0] < SHORT and len(times) < REPEATS):
            change()
            times.append(self.build())
        return statistics.median(times)

    @property
    def tag(self) -> str:
        """The name of the image."""
        return image_tag(self.target)

    def build(self) -> float:
        """Build and tag the image; return the seconds it took."""
        began = time.perf_counter()
        docker(*self.command, cwd=self.context)
        return time.perf_counter() - began


def image_tag(target: str) -> str:
    """Return the name of a target's image."""
    return f"mnistctl-benchmark:{target}"


def build_command(target: str, arguments: list[str]) -> list[str]:
    """Return the command that builds and tags a target of a Dockerfile."""
    build = ["buildx", "build", f"--target={target}", f"--tag={image_tag(target)}", "--load"]
    return [*build, *arguments, "."]


def bake_service_command(base: str, toolchain: str) -> list[str]:
    """Return the command that builds the example service, and the image below it."""
    images = [f"--set=*.args.BASE={base}", f"--set=*.args.TOOLCHAIN={toolchain}"]
    tags = [f"--set={target}.tags={image_tag(target)}" for target in ("service", "predict")]
    return ["buildx", "bake", "service", "--load", *images, *tags]


def docker(*arguments: str, cwd: Path | None = None) -> str:
    """Run docker and return its output.

    Raises:
        SystemExit: it failed.
    """
    command = ["docker", *arguments]
    result = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"docker {' '.join(arguments)}\n{result.stderr}")
    return result.stdout


def image_size(tag: str) -> int:
    """Return the size of an image in bytes."""
    return int(docker("image", "inspect", "--format={{.Size}}", tag))


def compressed_size(tag: str) -> int:
    """Return the bytes of an image after gzip.

    Raises:
        SystemExit: the image cannot be read from the engine.
    """
    gzip = zlib.compressobj(wbits=31)
    size = 0
    with subprocess.Popen(["docker", "save", tag], stdout=subprocess.PIPE) as save:
        assert save.stdout
        while part := save.stdout.read(2**20):
            size += len(gzip.compress(part))
    if save.returncode:
        sys.exit(f"docker save {tag}: exit status {save.returncode}")
    return size + len(gzip.flush())


def append_line(path: Path, line: str) -> None:
    """Add a line to a file."""
    with path.open("a") as file:
        file.write(line)


def read_pins(*names: str) -> list[str]:
    """Return the pins of requirements files, without their hashes."""
    text = "".join((ROOT / "requirements" / name).read_text() for name in names)
    return [pin.strip() for pin in re.findall(r"^[a-z0-9-]+==[^\\\n]+", text, re.M)]


def make_package_index(wheels: Path, directory: Path) -> Path:
    """Copy wheels into a package index, for pip's --find-links and for uv."""
    directory.mkdir()
    for wheel in wheels.glob("torch*.whl"):
        shutil.copy(wheel, directory)
        project = directory / wheel.name.split("-")[0]
        project.mkdir()
        (project / "index.html").write_text(f'<a href="../{wheel.name}">{wheel.name}</a>')
    return directory


def ladder_build(target: str, context: Path, arguments: list[str]) -> Build:
    """Prepare one rung of the ladder: mnistctl, with the talk's extension."""
    shutil.copytree(HERE / "ladder", context)
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "mnistctl", context / "mnistctl", ignore=ignored)
    pinned = read_pins("inference.txt", "training.txt", "torch-cpu.txt", "build.txt")
    (context / "pinned.txt").write_text("\n".join(pinned) + "\n")
    torch = read_pins("torch-cpu.txt")
    names = {re.split("[=; ]", pin)[0] for pin in pinned} - {"torch"}
    (context / "requirements.txt").write_text("\n".join([*sorted(names), *torch]) + "\n")

    def change_dependency() -> None:
        for name in ("pinned.txt", "requirements.txt"):
            path = context / name
            pin = f"{DEPENDENCY}=={PREVIOUS}"
            path.write_text(re.sub(rf"^{DEPENDENCY}\b.*", pin, path.read_text(), flags=re.M))

    return Build(
        target,
        context,
        build_command(target, [LADDER_FILE, *arguments]),
        context / "mnistctl/cli.py",
        context / "argmax.cpp",
        change_dependency,
    )


def own_build(target: str, context: Path, command: list[str]) -> Build:
    """Prepare one of our images, in a copy of the repository."""
    list_files = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(list_files, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in files.rstrip("\0").split("\0"):
        if (ROOT / name).is_file():
            (context / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, context / name)

    def change_dependency() -> None:
        path = context / "requirements/inference.txt"
        pin = f"{DEPENDENCY}=={PREVIOUS} --hash=sha256:{PREVIOUS_HASH}\n"
        hashed = rf"^{DEPENDENCY}==.*\\\n(?:    --hash=.*\n)+"
        path.write_text(re.sub(hashed, pin, path.read_text(), flags=re.M))

    return Build(
        target,
        context,
        command,
        context / "mnistctl/cli.py",
        context / "csrc/argmax.cpp",
        change_dependency,
    )


def measure_prediction(build: Build, base: str) -> float:
    """Return the seconds that a prediction adds to the start of a container of the base."""
    build.build()
    examples = f"--volume={ROOT / 'examples'}:/work:ro"
    run = ["docker", "run", "--rm", examples]
    commands = [[*run, build.tag, "predict", "seven.png"], [*run, base, "true"]]
    alternate(commands, 1)
    prediction, start = alternate(commands, PREDICTIONS)
    docker("image", "rm", "--force", build.tag)
    return seconds(prediction) - seconds(start)


def measure_gpu() -> GpuSizes:
    """Compare the image for the GPU with what pip installs on the same base."""
    pins = [pin for pin in read_pins("torch-gpu.txt") if pin.startswith("torch")]
    plain, own = "mnistctl-benchmark:plain", "mnistctl-benchmark:gpu"
    docker(
        *("buildx", "build", "--target=plain-gpu", f"--tag={plain}", "--load"),
        *(f"--build-arg=GPU_PINS={' '.join(pins)}", LADDER_FILE, str(HERE / "ladder")),
    )
    docker("buildx", "build", "--target=gpu", f"--tag={own}", "--load", str(ROOT))
    sizes = GpuSizes(image_size(own), image_size(plain), pins)
    docker("image", "rm", "--force", plain, own)
    return sizes


def measure(options: argparse.Namespace) -> Results:
    """Run every build."""
    with tempfile.TemporaryDirectory() as directory:
        work = Path(directory)
        index = make_package_index(options.wheels, work / "torch-index")
        common = [f"--build-context=torch-index={index}"]
        ladder = [*common, f"--build-arg=FULL={options.full}", f"--build-arg=SLIM={options.slim}"]
        own = [
            *common,
            f"--build-arg=BASE={options.slim}",
            f"--build-arg=TOOLCHAIN={options.full}",
            "--build-arg=TORCH_INDEX=file:///torch-index",
        ]
        predict = own_build("predict", work / "predict", build_command("predict", own))
        service = bake_service_command(options.slim, options.full)
        builds = {
            **{name: ladder_build(rung, work / rung, ladder) for name, rung in LADDER.items()},
            "mnistctl:cpu": own_build("cpu", work / "cpu", build_command("cpu", own)),
            "mnistctl:predict": predict,
            "mnistctl:service": own_build("service", work / "service", service),
        }
        results = {}
        for name, build in builds.items():
            results[name] = build.measure()
            print(name, results[name], file=sys.stderr, flush=True)
        prediction = measure_prediction(predict, options.slim)
    return Results(
        full=options.full,
        slim=options.slim,
        torch=read_pins("torch-cpu.txt"),
        machine=machine(),
        builds=results,
        prediction=prediction,
        gpu=measure_gpu() if options.gpu else None,
    )


def main() -> None:
    """Measure, or read the results on record, and write the chart and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("wheels", type=Path, nargs="?", help="a directory with the wheel of torch")
    parser.add_argument("--full", default="python:3.13-trixie", help="the base with a compiler")
    parser.add_argument("--slim", default="python:3.13-slim-trixie", help="the base without")
    parser.add_argument("--gpu", action="store_true", help="also build the images for the GPU")
    parser.add_argument("--redraw", action="store_true", help="measure nothing")
    options = parser.parse_args()
    if options.redraw == bool(options.wheels):
        parser.error("name the directory of wheels, or --redraw")

    if options.redraw:
        results = Results.load()
    else:
        results = measure(options)
        results.save()
    chart.FILE.write_text(chart.draw(results))
    write_section("images", results.section())


if __name__ == "__main__":
    main()
