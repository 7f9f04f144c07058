#!/bin/sh
# Check, prune, strip and byte-compile the PyTorch installed in the working directory.
# usage: prepare_torch.sh {cpu|gpu} VERSION
set -eu
build=$1
version=$2
here=$(dirname "$0")

python -B "$here/check_torch_build.py" "$build" "$version"
python -B "$here/prune.py" "$here/prune_torch.txt" "$build"
strip --strip-unneeded torch/lib/libtorch_*.so
python "$here/import_training.py"
python -B "$here/trust_bytecode.py" "$PYTHONPYCACHEPREFIX"
# These cannot be imported without NumPy.
python -B -m compileall -q -j 0 --invalidation-mode unchecked-hash ml_dtypes onnx
