"""CUDA graphs, with a stand-in for CUDA; tests/gpu has the tests that need a GPU."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
from torch import Tensor

from mnistctl.training.graph import Graph


class Recording:
    """Stands in for a CUDA graph: repeats a function with the argument that it was recorded with.

    Attributes:
        runs: the argument of each run; to record is not a run.
        replays: the number of runs that the graph repeated.
    """

    def __init__(self) -> None:
        self.runs: list[float] = []
        self.replays = 0
        self._is_recording = False

    def function(self, number: Tensor) -> None:
        if self._is_recording:
            self._recorded = number
        else:
            self.runs.append(number.item())

    @contextmanager
    def record(self, _graph: object) -> Iterator[None]:
        self._is_recording = True
        yield
        self._is_recording = False

    def replay(self) -> None:
        self.replays += 1
        self.function(self._recorded)


def test_a_recorded_function_gets_new_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    recording = Recording()
    monkeypatch.setattr(torch.cuda, "CUDAGraph", lambda: recording)
    monkeypatch.setattr(torch.cuda, "graph", recording.record)
    graph = Graph(recording.function)
    for number in range(6):
        graph(torch.tensor(float(number)))
    assert recording.runs == [0, 1, 2, 3, 4, 5]
    assert recording.replays == 3
