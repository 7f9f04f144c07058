# docker buildx bake                builds mnistctl:cpu and mnistctl:gpu
# docker buildx bake predict        builds mnistctl:predict, which contains no PyTorch
# docker buildx bake service        builds mnistctl:service: see examples/service/README.md
# docker buildx bake test           runs the test suite in the image for the CPU
# docker buildx bake lint           checks the Dockerfiles and the shell scripts
# docker buildx bake requirements   updates the pins in requirements/
# docker buildx bake release        builds all images to be published: see below
#
# Environment variables set the variables: PYTHON_VERSION=3.12 docker buildx bake. For null, the
# Dockerfile's default applies.

variable "BASE" { default = null }
variable "TOOLCHAIN" { default = null }
variable "PYTHON_VERSION" { default = null }
variable "TORCH_VERSION" { default = null }
variable "TORCH_INDEX" { default = null }

# The image that the example service extends: predict, or one that trains.
variable "SERVICE_BASE" { default = "predict" }

# The default is not a valid image name, so a release without REGISTRY fails and shows the reason.
variable "REGISTRY" { default = "REGISTRY-IS-NOT-SET" }
variable "TAG" { default = "latest" }
# The release's platforms. gpu is always for linux/amd64 alone.
variable "PLATFORMS" { default = "linux/amd64,linux/arm64" }
# The compression of the release's layers: zstd, or gzip for old clients.
variable "COMPRESSION" { default = "zstd" }
variable "REVISION" { default = null }
variable "SOURCE" { default = null }

group "default" {
  targets = ["cpu", "gpu"]
}

target "_common" {
  args = {
    BASE           = BASE
    PYTHON_VERSION = PYTHON_VERSION
    TOOLCHAIN      = TOOLCHAIN
    TORCH_VERSION  = TORCH_VERSION
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

target "base" {
  inherits = ["_common"]
  target   = "base"
}

target "tools" {
  inherits = ["_common"]
  target   = "tools"
}

target "service" {
  dockerfile = "examples/service/Dockerfile"
  contexts = {
    image = "target:${SERVICE_BASE}"
    base  = "target:base"
    tools = "target:tools"
  }
  tags = ["mnistctl:service"]
}

target "test" {
  inherits = ["_common"]
  target   = "test"
  output   = ["type=cacheonly"]
}

# Newer versions of buildx also have BuildKit's own checks: docker buildx build --check .
target "lint" {
  inherits = ["_common"]
  target   = "lint"
  output   = ["type=cacheonly"]
}

# Resolves the newest version of every package and writes requirements/*.txt.
target "requirements" {
  inherits        = ["_common"]
  target          = "requirements"
  output          = ["type=local,dest=requirements"]
  no-cache-filter = ["resolve"]
}

# Publish all images, with their origin in labels and attestations:
#     REGISTRY=registry.example/me TAG=1.0 REVISION=$(git rev-parse HEAD) \
#         docker buildx bake release --push
# This needs a builder from docker buildx create, or an engine with containerd's image store.
target "release" {
  name     = "release-${variant}"
  matrix   = { variant = ["cpu", "gpu", "predict"] }
  # buildx 0.13 cannot validate variables. So for a wrong one, this inherits from a target that does
  # not exist, and the error shows its name before anything is built.
  inherits = [
    variant,
    length(setsubtract(split(",", PLATFORMS), ["linux/amd64", "linux/arm64"])) == 0
    ? variant : "PLATFORMS must be of linux/amd64 and linux/arm64 and not '${PLATFORMS}'",
    variant != "gpu" || contains(split(",", PLATFORMS), "linux/amd64")
    ? variant : "gpu can only be built for linux/amd64 and PLATFORMS is '${PLATFORMS}'",
    contains(["gzip", "zstd"], COMPRESSION)
    ? variant : "COMPRESSION must be zstd or gzip and not '${COMPRESSION}'",
  ]

  platforms = variant == "gpu" ? ["linux/amd64"] : split(",", PLATFORMS)
  tags = concat(
    ["${REGISTRY}/mnistctl:${TAG}-${variant}"],
    variant == "cpu" ? ["${REGISTRY}/mnistctl:${TAG}"] : [],
  )
  output     = ["type=image,oci-mediatypes=true,compression=${COMPRESSION},force-compression=true"]
  attest     = ["type=sbom", "type=provenance,mode=max"]
  cache-from = ["type=registry,ref=${REGISTRY}/mnistctl:cache-${variant}"]
  cache-to   = ["type=registry,ref=${REGISTRY}/mnistctl:cache-${variant},mode=max"]
  labels = {
    "org.opencontainers.image.title"       = "mnistctl"
    "org.opencontainers.image.description" = "Train and apply a handwritten-digit classifier"
    "org.opencontainers.image.licenses"    = "MIT AND CC-BY-SA-3.0"
    "org.opencontainers.image.version"     = TAG
    "org.opencontainers.image.revision"    = REVISION
    "org.opencontainers.image.source"      = SOURCE
  }
}
