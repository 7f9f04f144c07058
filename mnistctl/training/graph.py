"""CUDA graphs, with which Python launches all kernels of a function at once."""

from collections.abc import Callable

import torch
from torch import Tensor

# In the first calls, libraries choose their algorithms and allocate memory.
_EAGER_CALLS = 3


class Graph:
    """Runs a function of a tensor as a CUDA graph, from its fourth call.

    A GPU runs small kernels faster than Python launches them one by one (PyTorch's blog,
    "Accelerating PyTorch with CUDA Graphs", 2021). The function must not wait for the GPU. Only
    its argument may change: it must use the same tensors and Python numbers in each call.
    """

    def __init__(self, function: Callable[[Tensor], None]) -> None:
        """Keep the function, to record it later."""
        self._function = function
        self._calls = 0
        self._graph = torch.cuda.CUDAGraph()

    def __call__(self, argument: Tensor) -> None:
        """Call the function. The shape and dtype of the argument are those of the first call."""
        self._calls += 1
        if self._calls <= _EAGER_CALLS:
            self._function(argument)
            return
        if self._calls == _EAGER_CALLS + 1:
            self._argument = argument.clone()
            with torch.cuda.graph(self._graph):
                self._function(self._argument)
        self._argument.copy_(argument)
        self._graph.replay()
