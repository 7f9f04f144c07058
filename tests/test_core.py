import ast
import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from mnistctl import _core

Floats = NDArray[np.float32] | NDArray[np.float64]

STEPS = st.sampled_from([1, 2, -1, -3])


def arrays(dimensions: int, side: int) -> st.SearchStrategy[Floats]:
    shapes = hnp.array_shapes(min_dims=dimensions, max_dims=dimensions, max_side=side)
    return st.one_of(hnp.arrays(np.float32, shapes), hnp.arrays(np.float64, shapes))


@given(arrays(1, 40), STEPS)
def test_row_gives_the_index_that_numpy_gives(values: Floats, step: int) -> None:
    row = values[::step]
    index = _core.argmax(row)
    assert type(index) is int
    assert index == np.argmax(row)


@given(arrays(2, 20), st.tuples(STEPS, STEPS), st.booleans())
def test_batch_gives_the_indices_that_numpy_gives(
    values: Floats, steps: tuple[int, int], transposed: bool
) -> None:
    batch = (values.T if transposed else values)[:: steps[0], :: steps[1]]
    indices = np.asarray(_core.argmax(batch))
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(indices, np.argmax(batch, axis=1))


def test_first_index_wins_a_tie() -> None:
    assert _core.argmax(np.array([0.0, 3.0, 3.0])) == 1


def test_first_nan_wins_over_every_number() -> None:
    assert _core.argmax(np.array([np.inf, np.nan, np.nan])) == 1


def test_values_at_unaligned_addresses_are_read() -> None:
    record = np.zeros(5, dtype=[("pad", "u1"), ("value", "f8")])
    record["value"] = [0, 1, 5, 2, 3]
    assert not record["value"].flags.aligned
    assert _core.argmax(record["value"]) == 2


def test_tensor_is_accepted() -> None:
    torch = pytest.importorskip("torch")
    indices = _core.argmax(torch.tensor([[0.0, 2.0], [3.0, 1.0]]))
    np.testing.assert_array_equal(indices, [1, 0])


def test_buffer_is_accepted() -> None:
    assert _core.argmax(np.array([0.0, 2.0]).data) == 1


def test_batch_without_rows_gives_no_indices() -> None:
    assert np.shape(_core.argmax(np.zeros((0, 10)))) == (0,)


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_row_without_values_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no values"):
        _core.argmax(np.zeros(shape))


@pytest.mark.parametrize("shape", [(), (2, 2, 2)])
def test_other_ranks_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="1 or 2 dimensions"):
        _core.argmax(np.zeros(shape))


@pytest.mark.parametrize("dtype", ["int64", "float16", ">f4", "complex64"])
def test_other_types_are_refused(dtype: str) -> None:
    values: NDArray[Any] = np.zeros(3, dtype)
    with pytest.raises(TypeError, match="float32 or float64"):
        _core.argmax(values)


def test_stub_declares_what_the_module_holds() -> None:
    stub = ast.parse(Path(_core.__file__).with_name("_core.pyi").read_text())
    declared = {
        node.name: [argument.arg for argument in node.args.args]
        for node in stub.body
        if isinstance(node, ast.FunctionDef)
    }
    public = {name: function for name, function in vars(_core).items() if not name.startswith("_")}
    held = {
        name: (inspect.getdoc(function) or "").split("(")[1].split(":")[0].split(",")
        for name, function in public.items()
    }
    assert declared == held
