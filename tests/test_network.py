import torch

from mnistctl.training.network import build_network


def test_it_maps_images_to_ten_logits() -> None:
    assert build_network().eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_it_has_the_parameters_that_its_docstring_claims() -> None:
    count = sum(parameter.numel() for parameter in build_network().parameters())
    assert f"{count:,} parameters" in (build_network.__doc__ or "")
