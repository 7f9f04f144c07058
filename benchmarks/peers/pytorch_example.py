"""Train as the MNIST example of pytorch/examples does: its network, optimizer and defaults.

The network has two 3×3 convolutions of 32 and 64 channels, one pooling layer, dropout, and 128
hidden units. Adadelta starts at 1.0 and is multiplied by 0.7 after each epoch. A DataLoader reads
batches of 64 from torchvision's MNIST.

    python -m benchmarks.peers.pytorch_example DATA EPOCHS

DATA is a directory in torchvision's layout. Prints the test accuracy, 0 to 1, after the last epoch.
"""

import sys

import torch
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import datasets, transforms


def build_network() -> nn.Sequential:
    """Return the untrained network, which returns log-probabilities."""
    return nn.Sequential(
        nn.Conv2d(1, 32, 3),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(9216, 128),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Linear(128, 10),
        nn.LogSoftmax(dim=1),
    )


def main() -> None:
    """Train and test."""
    data, epochs = sys.argv[1], int(sys.argv[2])
    torch.manual_seed(1)
    as_tensor = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize((0.1307,), (0.3081,))]
    )
    train = DataLoader(datasets.MNIST(data, train=True, transform=as_tensor), batch_size=64)
    test = DataLoader(datasets.MNIST(data, train=False, transform=as_tensor), batch_size=1000)
    model = build_network()
    optimizer = torch.optim.Adadelta(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=1, gamma=0.7)
    for _ in range(epochs):
        model.train()
        for images, labels in train:
            optimizer.zero_grad()
            functional.nll_loss(model(images), labels).backward()
            optimizer.step()
        schedule.step()
    model.eval()
    with torch.no_grad():
        correct = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in test)
    print(correct / 10_000)


if __name__ == "__main__":
    main()
