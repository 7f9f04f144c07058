"""Measure the commands next to their peers, and write the table in benchmarks/README.md.

    python -m benchmarks.commands

It takes a quarter of an hour on two cores. No other work must run on them.
"""

import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import (
    Run,
    alternate,
    machine,
    mebibytes,
    run,
    seconds,
    table,
    write_section,
)

MNISTCTL = [sys.executable, "-m", "mnistctl"]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
SEEDS = 5

Row = tuple[str, str, str, str]


def peer_command(name: str, *arguments: str) -> list[str]:
    """Return the command that runs a peer."""
    return [sys.executable, "-m", f"benchmarks.peers.{name}", *arguments]


def mean_and_deviation(accuracies: list[float]) -> str:
    """Return the mean of accuracies, 0 to 1, and their standard deviation, in percent."""
    mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
    return f"{mean:.3%} ± {deviation * 100:.3f}".replace("%", " %")


def measure_alone(*arguments: str) -> Row:
    """Measure a command that has no peer."""
    (runs,) = alternate([[*MNISTCTL, *arguments]], 11)
    name = f"`mnistctl {' '.join(arguments)}`"
    return name, f"{seconds(runs):.3f} s", f"{mebibytes(runs):.0f} MiB", ""


def measure_one_prediction(folder: Path) -> Row:
    """Measure one prediction next to one with PyTorch."""
    image = str(folder / "digits" / "00000.png")
    theirs = peer_command("pytorch_predict", image, str(folder / "state.pt"))
    run(theirs)
    own_runs, peer_runs = alternate([[*MNISTCTL, "predict", image], theirs], 11)
    return (
        "`mnistctl predict one.png`",
        f"{seconds(own_runs):.3f} s",
        f"{mebibytes(own_runs):.0f} MiB",
        f"{seconds(peer_runs) / seconds(own_runs):.1f} × faster than PyTorch's "
        f"{seconds(peer_runs):.2f} s, {mebibytes(peer_runs):.0f} MiB",
    )


def measure_many_predictions(directory: Path, name: str) -> list[Row]:
    """Measure the images of a directory: in one process, and in a process on each core."""
    count, cores = len(list(directory.iterdir())), os.cpu_count() or 1
    share = math.ceil(count / cores)
    xargs = f'find "$0" -type f -print0 | xargs -0 -P {cores} -n {share} "$@"'
    predict = [*MNISTCTL, "predict", "--files-from", "/dev/null"]
    alone, together = alternate(
        [[*predict, str(directory)], ["sh", "-c", xargs, str(directory), *predict]], 5
    )
    return [
        (
            f"`mnistctl predict` of {count:,} {name}",
            f"{seconds(alone):.2f} s",
            f"{mebibytes(alone):.0f} MiB",
            f"{count / seconds(alone):,.0f} images/s",
        ),
        (
            f"the same in {cores} processes, with `xargs -P {cores}`",
            f"{seconds(together):.2f} s",
            f"{mebibytes(together):.0f} MiB each",
            f"{count / seconds(together):,.0f} images/s",
        ),
    ]


def train_commands(folder: Path, epochs: int) -> list[list[str]]:
    """Return the command that trains, for each random seed."""
    options = ["--epochs", str(epochs), "--json", "-o", str(folder / "model.onnx")]
    return [[*MNISTCTL, "train", *options, "--seed", str(seed)] for seed in range(SEEDS)]


def test_accuracies(runs: list[Run]) -> list[float]:
    """Return the test accuracies, 0 to 1, that the runs printed."""
    values = [json.loads(finished.output.splitlines()[-1]) for finished in runs]
    return [value["test_accuracy"] if isinstance(value, dict) else value for value in values]


def images_per_second(runs: list[Run]) -> float:
    """Return the median throughput of the last epoch that the runs printed."""
    epochs = [json.loads(finished.output.splitlines()[-2]) for finished in runs]
    return statistics.median([float(epoch["images_per_second"]) for epoch in epochs])


def measure_one_epoch(folder: Path) -> Row:
    """Measure one epoch next to the one-epoch record, seed by seed."""
    own_runs, peer_runs = [], []
    for seed, command in enumerate(train_commands(folder, 1)):
        own_runs.append(run(command))
        peer_runs.append(run(peer_command("one_epoch_record", str(seed))))
    return (
        f"`mnistctl train --epochs 1`, {SEEDS} seeds: "
        f"{mean_and_deviation(test_accuracies(own_runs))}",
        f"{seconds(own_runs):.2f} s",
        f"{mebibytes(own_runs):.0f} MiB",
        f"{seconds(peer_runs) / seconds(own_runs):.2f} × the speed of the one-epoch record: "
        f"{seconds(peer_runs):.2f} s for {mean_and_deviation(test_accuracies(peer_runs))}",
    )


def measure_two_processes(folder: Path) -> Row:
    """Measure one epoch in two processes next to one process with two threads, seed by seed."""
    together, alone = [], []
    for command in train_commands(folder, 1):
        together.append(run([*TORCHRUN, "-m", "mnistctl", *command[len(MNISTCTL) :]]))
        alone.append(run([*command, "--threads", "2"]))
    return (
        "the same with `torchrun --nproc-per-node 2`: "
        f"{mean_and_deviation(test_accuracies(together))}",
        f"{seconds(together):.2f} s",
        f"{mebibytes(together):.0f} MiB each",
        f"{images_per_second(together):,.0f} images/s: "
        f"{images_per_second(together) / images_per_second(alone):.2f} × those of one process with "
        "two threads",
    )


def measure_beside_another(folder: Path) -> Row:
    """Measure one epoch while another training runs, next to one alone."""
    command = train_commands(folder, 1)[0]
    other = [*MNISTCTL, "train", "--epochs", "1000", "--quiet", "-o", str(folder / "other.onnx")]
    alone, beside = [], []
    for _ in range(3):
        alone.append(run(command))
        with subprocess.Popen(other, stderr=subprocess.DEVNULL) as process:
            try:
                beside.append(run(command))
            finally:
                process.terminate()
    return (
        "`mnistctl train --epochs 1` beside another training",
        f"{seconds(beside):.2f} s",
        f"{mebibytes(beside):.0f} MiB",
        f"{seconds(beside) / seconds(alone):.2f} × the {seconds(alone):.2f} s of one alone",
    )


def measure_three_epochs(folder: Path) -> Row:
    """Measure three epochs next to those of PyTorch's example, which runs once."""
    peer_run = run(peer_command("pytorch_example", str(folder), "3"))
    own_runs = [run(command) for command in train_commands(folder, 3)]
    return (
        f"`mnistctl train --epochs 3`, {SEEDS} seeds: "
        f"{mean_and_deviation(test_accuracies(own_runs))}",
        f"{seconds(own_runs):.2f} s",
        f"{mebibytes(own_runs):.0f} MiB",
        f"{peer_run.seconds / seconds(own_runs):.1f} × faster than PyTorch's example's "
        f"{peer_run.seconds:.0f} s for {float(peer_run.output):.2%}".replace("%", " %"),
    )


def main() -> None:
    """Measure everything and write the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([sys.executable, "-m", "benchmarks.prepare", name])
        rows = [
            measure_alone("--help"),
            measure_alone("--version"),
            measure_one_prediction(folder),
            *measure_many_predictions(folder / "digits", "PNG digits"),
            *measure_many_predictions(folder / "photographs", "photographs"),
            measure_alone("validate"),
            measure_one_epoch(folder),
            measure_two_processes(folder),
            measure_beside_another(folder),
            measure_three_epochs(folder),
        ]
    text = table(("command", "median time", "peak memory", "compared with"), rows)
    write_section("commands", f"Measured on {machine()}.\n\n{text}")
    print(text)


if __name__ == "__main__":
    main()
