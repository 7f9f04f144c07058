"""Stop the build unless the installed PyTorch is the build (cpu or gpu) and version asked for.

usage: check_torch_build.py {cpu|gpu} VERSION     in the directory that PyTorch is installed in

Reads torch/version.py, since a CUDA build cannot be imported without NVIDIA's libraries.
"""

import runpy
import sys


def error(torch: str, cuda: str | None, build: str, version: str) -> str | None:
    """Return what is wrong with the PyTorch whose version.py says ``torch`` and ``cuda``."""
    if torch.partition("+")[0] != version:
        return (
            f"requirements/ pins torch {torch}, but TORCH_VERSION is {version}: "
            f"run TORCH_VERSION={version} docker buildx bake requirements."
        )
    if build != ("gpu" if cuda else "cpu"):
        found, needed = ("CUDA", "CPU") if cuda else ("CPU", "CUDA")
        return (
            f"The package index served torch {torch}, a {found} build. This image needs a "
            f"{needed} build: set TORCH_INDEX to an index that has one."
        )
    return None


if __name__ == "__main__":
    installed = runpy.run_path("torch/version.py")
    sys.exit(error(installed["__version__"], installed["cuda"], *sys.argv[1:]))
