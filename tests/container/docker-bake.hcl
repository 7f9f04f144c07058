# For a machine that does not reach PyTorch's index: the image for the CPU, with PyTorch's layer
# from the image for the GPU. A CUDA build trains on a CPU as well.
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
