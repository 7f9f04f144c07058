# What is null here has its value in the Dockerfile.

variable "BASE" { default = null }
variable "PYTHON_VERSION" { default = null }
variable "TORCH_INDEX" { default = null }

group "default" { targets = ["cpu", "gpu"] }

target "_common" {
  args = {
    BASE           = BASE
    PYTHON_VERSION = PYTHON_VERSION
    TORCH_INDEX    = TORCH_INDEX
  }
}

target "cpu" {
  inherits = ["_common"]
  target   = "cpu"
  tags     = ["mnistctl:cpu", "mnistctl:latest"]
}

target "gpu" {
  inherits = ["_common"]
  target   = "gpu"
  tags     = ["mnistctl:gpu"]
}

target "predict" {
  inherits = ["_common"]
  target   = "predict"
  tags     = ["mnistctl:predict"]
}

# Resolves every pin anew.
target "requirements" {
  inherits        = ["_common"]
  target          = "requirements"
  output          = ["type=local,dest=requirements"]
  no-cache-filter = ["resolve"]
}
