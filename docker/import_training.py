"""Import what train imports, so that Python keeps the byte code of just that.

onnx and torchvision need NumPy, which is in another layer, so they cannot be imported here. This
file imports what they import, and prepare_torch.sh compiles them.
"""

import csv
import html.parser
import modulefinder
import xml.etree.ElementTree

import safetensors.torch
import torch
import torch.backends.mps
import torch.onnx.symbolic_helper
import torch.onnx.symbolic_opset11
import torch.utils.model_zoo
import torch.utils.serialization
from torch.nn import functional

# One training step imports the modules that PyTorch imports when they are first used.
network = torch.nn.Linear(1, 1)
optimizer = torch.optim.AdamW(network.parameters(), fused=True)
with torch.autocast("cpu", torch.bfloat16):
    loss = functional.cross_entropy(network(torch.ones(1, 1)), torch.zeros(1, dtype=torch.int64))
    loss.backward()
optimizer.step()
