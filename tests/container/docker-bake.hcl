# For a machine that cannot reach PyTorch's index: builds `cpu` with the PyTorch layer of `gpu`. A
# CUDA build also trains on a CPU.
target "torch-gpu" {
  inherits = ["_common"]
  target   = "torch-gpu"
}

target "cpu" {
  contexts = { torch-cpu = "target:torch-gpu" }
}

target "test" {
  contexts = { torch-cpu = "target:torch-gpu" }
}
