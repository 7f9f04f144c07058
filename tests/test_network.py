import torch

from mnistctl.network import network


def test_it_maps_pictures_to_ten_logits() -> None:
    assert network().eval()(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


def test_it_has_the_parameters_its_docstring_claims() -> None:
    count = sum(parameter.numel() for parameter in network().parameters())
    assert f"{count:,} parameters" in network.__doc__
