import ast
import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mnistctl import _core

FLOATS = st.sampled_from([np.float32, np.float64])


def strided(values: np.ndarray, steps: tuple[int, ...]) -> np.ndarray:
    return values[tuple(slice(None, None, step) for step in steps)]


@given(
    FLOATS.flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=1, max_dims=1, max_side=40))
    ),
    st.sampled_from([1, 2, -1, -3]),
)
def test_a_row_gives_the_index_numpy_gives(values: np.ndarray, step: int) -> None:
    row = strided(values, (step,))
    index = _core.argmax(row)
    assert type(index) is int
    assert index == np.argmax(row)


@given(
    FLOATS.flatmap(
        lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=20))
    ),
    st.tuples(st.sampled_from([1, 2, -1, -3]), st.sampled_from([1, 2, -1, -3])),
    st.booleans(),
)
def test_a_batch_gives_the_indices_numpy_gives(
    values: np.ndarray, steps: tuple[int, int], transposed: bool
) -> None:
    batch = strided(values.T if transposed else values, steps)
    indices = _core.argmax(batch)
    assert indices.dtype == np.int64
    np.testing.assert_array_equal(indices, np.argmax(batch, axis=1))


def test_the_first_index_wins_a_tie() -> None:
    assert _core.argmax(np.array([0.0, 3.0, 3.0])) == 1


def test_the_first_nan_wins_over_every_number() -> None:
    assert _core.argmax(np.array([np.inf, np.nan, np.nan])) == 1


def test_values_at_unaligned_addresses_are_read() -> None:
    record = np.zeros(5, dtype=[("pad", "u1"), ("value", "f8")])
    record["value"] = [0, 1, 5, 2, 3]
    assert not record["value"].flags.aligned
    assert _core.argmax(record["value"]) == 2


def test_a_tensor_is_taken() -> None:
    assert _core.argmax(torch.tensor([[0.0, 2.0], [3.0, 1.0]])).tolist() == [1, 0]


def test_a_buffer_is_taken() -> None:
    assert _core.argmax(memoryview(np.array([0.0, 2.0]))) == 1


def test_a_batch_of_no_rows_gives_no_indices() -> None:
    assert _core.argmax(np.zeros((0, 10))).shape == (0,)


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_no_values_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="no values"):
        _core.argmax(np.zeros(shape))


@pytest.mark.parametrize("shape", [(), (2, 2, 2)])
def test_other_ranks_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="1 or 2 dimensions"):
        _core.argmax(np.zeros(shape))


@pytest.mark.parametrize("dtype", ["int64", "float16", ">f4", "complex64"])
def test_other_dtypes_are_refused(dtype: str) -> None:
    with pytest.raises(TypeError, match="float32 or float64"):
        _core.argmax(np.zeros(3, dtype))


def test_the_stub_declares_what_the_module_holds() -> None:
    stub = ast.parse(Path(_core.__file__).with_name("_core.pyi").read_text())
    declared = {
        node.name: [argument.arg for argument in node.args.args]
        for node in stub.body
        if isinstance(node, ast.FunctionDef)
    }
    public = {name: function for name, function in vars(_core).items() if not name.startswith("_")}
    held = {
        name: inspect.getdoc(function).splitlines()[0].split("(")[1].split(":")[0].split(",")
        for name, function in public.items()
    }
    assert declared == held
