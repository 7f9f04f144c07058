"""Predict one digit the usual way: PyTorch, torchvision's transforms, a pickled state.

    python -m benchmarks.peers.pytorch_predict IMAGE STATE

If the file STATE does not exist, the state of an untrained network is saved there. Prints the
digit.
"""

import sys
from pathlib import Path

import torch
from PIL import Image
from torchvision import transforms

from benchmarks.peers.pytorch_example import build_network


def main() -> None:
    """Predict the digit in one image."""
    path, state = sys.argv[1], Path(sys.argv[2])
    model = build_network()
    if not state.exists():
        torch.save(model.state_dict(), state)
    model.load_state_dict(torch.load(state))
    model.eval()
    as_tensor = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )
    with torch.no_grad(), Image.open(path) as image:
        print(int(model(as_tensor(image.convert("L")).unsqueeze(0)).argmax()))


if __name__ == "__main__":
    main()
