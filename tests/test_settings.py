import json
import math
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnistctl.errors import MnistctlError
from mnistctl.settings import LIMITS, TrainSettings

VALID = st.builds(
    TrainSettings,
    epochs=st.integers(*map(int, LIMITS["epochs"])),
    batch_size=st.integers(*map(int, LIMITS["batch_size"])),
    learning_rate=st.floats(*LIMITS["learning_rate"]),
    seed=st.integers(*map(int, LIMITS["seed"])),
    threads=st.none() | st.integers(*map(int, LIMITS["threads"])),
)


def settings(name: str, value: Any) -> TrainSettings:
    return TrainSettings(**{name: value})


@given(VALID)
def test_every_allowed_value_round_trips_through_json(valid: TrainSettings) -> None:
    assert TrainSettings(**json.loads(json.dumps(asdict(valid)))) == valid


def test_defaults_leave_the_number_of_threads_to_pytorch() -> None:
    assert TrainSettings().threads is None


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("limit", [0, 1], ids=["least", "greatest"])
def test_limit_itself_is_allowed(name: str, limit: int) -> None:
    value = LIMITS[name][limit]
    assert getattr(settings(name, value), name) == value


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("epochs", 0, "epochs must be from 1 to 100000, not 0"),
        ("epochs", 100_001, "epochs must be from 1 to 100000, not 100001"),
        ("batch_size", 1, "batch size must be from 2 to 100000, not 1"),
        ("batch_size", 100_001, "batch size must be from 2 to 100000, not 100001"),
        ("learning_rate", 0.0, "learning rate must be from 1e-30 to 1e+30, not 0.0"),
        ("learning_rate", 1e-310, "learning rate must be from 1e-30 to 1e+30, not 1e-310"),
        ("learning_rate", 1e31, "learning rate must be from 1e-30 to 1e+30, not 1e+31"),
        ("seed", -1, "seed must be from 0 to 4294967295, not -1"),
        ("seed", 2**32, "seed must be from 0 to 4294967295, not 4294967296"),
        ("threads", 0, "threads must be from 1 to 1024, not 0"),
        ("threads", 1025, "threads must be from 1 to 1024, not 1025"),
    ],
)
def test_value_outside_the_limits_is_refused(name: str, value: float, sentence: str) -> None:
    with pytest.raises(MnistctlError) as refused:
        settings(name, value)
    assert str(refused.value) == sentence


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_learning_rate_that_is_not_finite_is_refused(value: float) -> None:
    with pytest.raises(MnistctlError, match=r"learning rate must be .*, not -?(nan|inf)$"):
        settings("learning_rate", value)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", ["2", True, [2], {}], ids=repr)
def test_value_of_another_type_is_refused(name: str, value: object) -> None:
    with pytest.raises(MnistctlError, match=f"^{name.replace('_', ' ')} must be from "):
        settings(name, value)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "seed", "threads"])
def test_fraction_of_a_whole_number_is_refused(name: str) -> None:
    with pytest.raises(MnistctlError, match=r", not 2\.0$"):
        settings(name, 2.0)


@pytest.mark.parametrize("name", ["epochs", "batch_size", "learning_rate", "seed"])
def test_setting_without_a_value_is_refused(name: str) -> None:
    with pytest.raises(MnistctlError, match=r", not None$"):
        settings(name, None)
