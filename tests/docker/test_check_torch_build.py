"""The check that the installed PyTorch is the one asked for."""

import check_torch_build
import pytest


@pytest.mark.parametrize(
    ("torch", "cuda", "build"),
    [("2.13.0+cpu", None, "cpu"), ("2.13.0", None, "cpu"), ("2.13.0+cu130", "13.0", "gpu")],
)
def test_the_right_build_passes(torch: str, cuda: str | None, build: str) -> None:
    assert check_torch_build.error(torch, cuda, build, "2.13.0") is None


def test_another_version_is_an_error_that_names_the_command_to_run() -> None:
    error = check_torch_build.error("2.13.0+cpu", None, "cpu", "2.14.0")
    assert error == (
        "requirements/ pins torch 2.13.0+cpu, but TORCH_VERSION is 2.14.0: "
        "run TORCH_VERSION=2.14.0 docker buildx bake requirements."
    )


@pytest.mark.parametrize(
    ("torch", "cuda", "build", "message"),
    [
        ("2.13.0+cu130", "13.0", "cpu", "a CUDA build. This image needs a CPU build"),
        ("2.13.0+cpu", None, "gpu", "a CPU build. This image needs a CUDA build"),
    ],
)
def test_another_build_is_an_error_that_names_both(
    torch: str, cuda: str | None, build: str, message: str
) -> None:
    error = check_torch_build.error(torch, cuda, build, "2.13.0")
    assert error is not None
    assert message in error
