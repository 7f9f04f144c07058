"""CUDA graphs: a few hundred small kernels that the GPU gets as one."""

from collections.abc import Callable

import torch
from torch import Tensor

# In the first calls, libraries choose their algorithms and allocate memory.
_EAGER_CALLS = 3


class Graph:
    """A function of tensors that a GPU repeats as a CUDA graph.

    A GPU runs small kernels faster than Python launches them one by one (V. Ngo et al.,
    "Accelerating PyTorch with CUDA Graphs", 2021). The function returns nothing, does not wait for
    the GPU, and uses the same tensors in each call, except its arguments.
    """

    def __init__(self, function: Callable[..., None]) -> None:
        """Prepare to record the function, in its fourth call."""
        self._function = function
        self._calls = 0
        self._graph = torch.cuda.CUDAGraph()
        self._arguments: list[Tensor] = []

    def __call__(self, *arguments: Tensor) -> None:
        """Call the function with arguments of the shapes and dtypes of the first call."""
        self._calls += 1
        if self._calls <= _EAGER_CALLS:
            self._function(*arguments)
            return
        if self._calls == _EAGER_CALLS + 1:
            self._arguments = [argument.clone() for argument in arguments]
            with torch.cuda.graph(self._graph):
                self._function(*self._arguments)
        for own, argument in zip(self._arguments, arguments, strict=True):
            own.copy_(argument)
        self._graph.replay()
