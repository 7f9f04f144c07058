"""Import what train imports, so that Python keeps the byte code of just that.

One training step also imports the modules that PyTorch imports when they are first used.
"""

import torch
import torch.backends.mps
import torch.onnx.symbolic_opset11
import torch.utils.serialization
from torch.nn import functional

network = torch.nn.Linear(1, 1)
optimizer = torch.optim.AdamW(network.parameters(), fused=True)
torch.optim.lr_scheduler.OneCycleLR(optimizer, 1, total_steps=2)
with torch.autocast("cpu", torch.bfloat16):
    loss = functional.cross_entropy(network(torch.ones(1, 1)), torch.zeros(1, dtype=torch.int64))
    loss.backward()
optimizer.step()
