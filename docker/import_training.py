"""Import what train and torchrun import, so that Python keeps the byte code of just that.

onnx needs NumPy, which is in another layer, so it cannot be imported here. This file imports what
onnx imports, and prepare_torch.sh compiles onnx.
"""

import csv
import tempfile

import google.protobuf.text_format
import safetensors.torch
import torch
import torch.backends.mps
import torch.distributed.run
from torch import distributed
from torch.distributed.elastic.rendezvous import c10d_rendezvous_backend, static_tcp_rendezvous
from torch.nn import functional
from torch.optim.adamw import adamw

# One training step imports the modules that PyTorch imports when they are first used.
network = torch.nn.Linear(1, 1)
with torch.autocast("cpu", torch.bfloat16):
    loss = functional.cross_entropy(network(torch.ones(1, 1)), torch.zeros(1, dtype=torch.int64))
    loss.backward()
# So does the first exchange between processes.
with tempfile.TemporaryDirectory() as directory:
    distributed.init_process_group("gloo", f"file://{directory}/store", rank=0, world_size=1)
    distributed.new_group()
    distributed.all_reduce(torch.ones(1))
    distributed.destroy_process_group()
