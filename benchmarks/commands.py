"""Measure the commands, side by side with their peers, and write the table.

    python -m benchmarks.commands

It takes a quarter of an hour on two cores, and wants them to itself.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.measure import Run, in_turn, machine, mebibytes, run, seconds, table, write_section

MNISTCTL = [sys.executable, "-m", "mnistctl"]
SEEDS = 5

Row = tuple[str, str, str, str]


def peer(name: str, *arguments: str) -> list[str]:
    """Return the command of a peer."""
    return [sys.executable, "-m", f"benchmarks.peers.{name}", *arguments]


def spread(accuracies: list[float]) -> str:
    """Return the mean of accuracies, 0 to 1, and their standard deviation, in percent."""
    mean, deviation = statistics.mean(accuracies), statistics.stdev(accuracies)
    return f"{mean:.3%} ± {deviation * 100:.3f}".replace("%", " %")


def short(name: str, *arguments: str) -> Row:
    """Measure a command that has no peer."""
    (runs,) = in_turn([[*MNISTCTL, *arguments]], 11)
    return name, f"{seconds(runs):.3f} s", f"{mebibytes(runs):.0f} MiB", ""


def one_prediction(folder: Path) -> Row:
    """Measure one prediction beside one of PyTorch."""
    picture = str(folder / "digits" / "00000.png")
    theirs = peer("pytorch_predict", picture, str(folder / "state.pt"))
    run(theirs)
    ours, others = in_turn([[*MNISTCTL, "predict", picture], theirs], 11)
    return (
        "`mnistctl predict one.png`",
        f"{seconds(ours):.3f} s",
        f"{mebibytes(ours):.0f} MiB",
        f"{seconds(others) / seconds(ours):.1f} × faster than PyTorch's {seconds(others):.2f} s, "
        f"{mebibytes(others):.0f} MiB",
    )


def many_predictions(folder: Path) -> Row:
    """Measure ten thousand pictures in a directory."""
    (runs,) = in_turn([[*MNISTCTL, "predict", str(folder / "digits")]], 5)
    return (
        "`mnistctl predict` of 10,000 PNG files",
        f"{seconds(runs):.2f} s",
        f"{mebibytes(runs):.0f} MiB",
        f"{10_000 / seconds(runs):,.0f} pictures a second",
    )


def trainings(folder: Path, epochs: int) -> list[list[str]]:
    """Return the command of a training for each of the seeds."""
    options = ["--epochs", str(epochs), "--json", "-o", str(folder / "model.onnx")]
    return [[*MNISTCTL, "train", *options, "--seed", str(seed)] for seed in range(SEEDS)]


def accuracies(runs: list[Run]) -> list[float]:
    """Return the test accuracies, 0 to 1, that trainings printed."""
    found = [json.loads(finished.output) for finished in runs]
    return [value["test_accuracy"] if isinstance(value, dict) else value for value in found]


def one_epoch(folder: Path) -> Row:
    """Measure an epoch beside the record's, seed by seed in turn."""
    ours, others = [], []
    for seed, command in enumerate(trainings(folder, 1)):
        ours.append(run(command))
        others.append(run(peer("one_epoch_record", str(seed))))
    return (
        f"`mnistctl train --epochs 1`, {SEEDS} seeds: {spread(accuracies(ours))}",
        f"{seconds(ours):.2f} s",
        f"{mebibytes(ours):.0f} MiB",
        f"{seconds(others) / seconds(ours):.2f} × faster than the one-epoch record's "
        f"{seconds(others):.2f} s for {spread(accuracies(others))}",
    )


def three_epochs(folder: Path) -> Row:
    """Measure three epochs beside those of PyTorch's example, which is run once."""
    other = run(peer("pytorch_example", str(folder), "3"))
    ours = [run(command) for command in trainings(folder, 3)]
    return (
        f"`mnistctl train --epochs 3`, {SEEDS} seeds: {spread(accuracies(ours))}",
        f"{seconds(ours):.2f} s",
        f"{mebibytes(ours):.0f} MiB",
        f"{other.seconds / seconds(ours):.1f} × faster than PyTorch's example's "
        f"{other.seconds:.0f} s for {float(other.output):.2%}".replace("%", " %"),
    )


def main() -> None:
    """Measure everything and write the table."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run([sys.executable, "-m", "benchmarks.prepare", name])
        rows = [
            short("`mnistctl --help`", "--help"),
            short("`mnistctl --version`", "--version"),
            one_prediction(folder),
            many_predictions(folder),
            short("`mnistctl validate`", "validate"),
            one_epoch(folder),
            three_epochs(folder),
        ]
    text = table(("command", "median time", "peak memory", "compared with"), rows)
    write_section("commands", f"Measured on {machine()}.\n\n{text}")
    print(text)


if __name__ == "__main__":
    main()
