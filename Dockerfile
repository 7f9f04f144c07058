# mnistctl as three images that share their layers: `predict` (without PyTorch), `cpu` and `gpu`.
#
# Each of the stages `system`, `torch-*`, `digits`, `inference`, `ext` and `app` makes one layer from
# the few files that it names, and is copied without a look at what is below it. So a change of the
# Python code re-runs `app` alone, of the C++ code `ext` alone, of a small dependency `inference`
# alone, and PyTorch's layer, by far the largest, stays what it was.

ARG PYTHON_VERSION=3.13
ARG BASE=python:${PYTHON_VERSION}-slim-trixie
ARG TOOLCHAIN=python:${PYTHON_VERSION}-trixie
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu

# All of ours lies below one directory and is found by its name: the same on every base, wherever
# the base's own pip installs to.
FROM ${BASE} AS base
ENV PYTHONPATH=/opt/mnistctl/packages \
    PYTHONPYCACHEPREFIX=/opt/mnistctl/bytecode


# ---- what builds with, and no image holds ----

FROM base AS tools
RUN --mount=type=bind,source=requirements/uv.txt,target=/tmp/uv.txt \
    pip install --no-cache-dir --no-compile --root-user-action=ignore \
        --require-hashes --target /tools --requirement /tmp/uv.txt

COPY --chmod=755 <<"EOF" /tools/bin/byte-compile-imports
#!/usr/bin/env python3
"""Run the program on standard input and keep the byte code of each module that it imports.

A container's user may not write to the image, so without this Python would compile the same modules
at each start, those of the standard library too. To compile all that is installed would make the
image larger by as much as was pruned from it. Byte code names the date of its source, which a copy
may change, and is then not used: here it is marked as one that need not be checked (PEP 552).
"""

import sys
from pathlib import Path

UNCHECKED = (1).to_bytes(4, "little") + bytes(8)

exec(sys.stdin.read(), {"__name__": "__main__"})
for compiled in Path(sys.pycache_prefix).rglob("*.pyc"):
    content = compiled.read_bytes()
    compiled.write_bytes(content[:4] + UNCHECKED + content[16:])
EOF

COPY --chmod=755 <<"EOF" /tools/bin/expect-torch-build
#!/usr/bin/env python3
"""Fail unless the PyTorch that is installed is of the build named, cpu or cuda, and the version.

Read, not imported: without CUDA's libraries beside it, a CUDA build does not come as far as telling
its name.
"""

import runpy
import sys

torch = runpy.run_path("/opt/mnistctl/packages/torch/version.py")
_, expected, version = sys.argv
if torch["__version__"].partition("+")[0] != version:
    sys.exit(
        f"requirements/ pins torch {torch['__version__']}, not {version} (TORCH_VERSION): "
        "docker buildx bake requirements pins that."
    )
found = "cuda" if torch["cuda"] else "cpu"
if found != expected:
    sys.exit(
        f"The index served torch {torch['__version__']}, a {found} build, and this image needs a "
        f"{expected} build: name an index that has it (TORCH_INDEX)."
    )
EOF


# What a training imports, with the modules that PyTorch imports when they are first used.
COPY <<"EOF" /tools/training.py
import torch
import torch.backends.mps
import torch.onnx.symbolic_opset11
import torch.utils.serialization
from torch.nn import functional

network = torch.nn.Linear(1, 1)
optimizer = torch.optim.AdamW(network.parameters(), fused=True)
torch.optim.lr_scheduler.OneCycleLR(optimizer, 1, total_steps=2)
with torch.autocast("cpu", torch.bfloat16):
    functional.cross_entropy(network(torch.ones(1, 1)), torch.zeros(1, dtype=int)).backward()
optimizer.step()
EOF


# The base's larger sibling: the same Python, with a compiler. Installing one would take longer than
# everything else of `predict` together, and be another compiler next month.
FROM ${TOOLCHAIN} AS toolchain
ENV PYTHONPATH=/opt/mnistctl/packages \
    PYTHONPYCACHEPREFIX=/opt/mnistctl/bytecode
RUN --mount=type=bind,from=base,target=/base <<"EOF"
set -eu
python_of() {
    "$@" python3 -B -c 'import sysconfig; print(sysconfig.get_config_var("SOABI"))'
}
in_toolchain=$(python_of env)
in_base=$(python_of chroot /base)
if [ "$in_toolchain" != "$in_base" ]; then
    echo "TOOLCHAIN holds $in_toolchain and BASE $in_base: name images of one Python." >&2
    exit 1
fi
EOF


# ---- one layer each ----
#
# Every file is given the same date, so that what is built twice is the same to the byte. With -B
# Python leaves no byte code of its own in a layer, which would hide what byte-compile-imports wrote.

# Of the base, Python and the libraries that it or a package links to: no shell, no package manager.
# Of each Debian package that a file comes from, the licence goes with it, and the record by which
# those who scan images know it.
FROM base AS system
RUN <<"EOF"
#!/usr/bin/env python3
import os
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

SYSTEM = Path("/system")
SETTINGS = ("/etc/debian_version", "/etc/group", "/etc/os-release", "/etc/passwd")


def output(*command):
    return subprocess.run(command, stdout=subprocess.PIPE, text=True).stdout


def copy(path):
    directory, name = os.path.split(path)
    for each in {f"{os.path.realpath(directory)}/{name}", os.path.realpath(path)}:
        subprocess.run(["cp", "--archive", "--parents", each, SYSTEM], check=True)


SYSTEM.mkdir()
for link in filter(Path.is_symlink, Path("/").iterdir()):
    (SYSTEM / link.name).symlink_to(link.readlink())
(SYSTEM / "work").mkdir()
(SYSTEM / "tmp").mkdir()
(SYSTEM / "tmp").chmod(0o1777)

programs = [shutil.which(name) for name in ("env", "python", "python3")]
standard_library = sysconfig.get_path("stdlib")
extensions = Path(standard_library).glob("lib-dynload/*.so")
# The libraries that every package may take for granted (PEP 600), whether or not ours link to them.
granted = re.findall(
    r"^/\S+/lib\S+\.so\.\d+$", output("dpkg-query", "--listfiles", "libc6", "libstdc++6"), re.M
)
linked = re.findall(r"(?:=> |^\t)(/\S+)", output("ldd", *programs, *extensions, *granted), re.M)
files = {*programs, *granted, *linked}
for path in (*files, standard_library, *SETTINGS):
    copy(path)
for what_is_for_pip in ("ensurepip", "site-packages"):
    shutil.rmtree(f"{SYSTEM}{standard_library}/{what_is_for_pip}", ignore_errors=True)

# GCC's libraries have their licence in a package of its own.
owned = [*(f"*/{os.path.basename(file)}" for file in files), "/usr/share/doc/gcc-*-base/copyright"]
for package in set(re.findall(r"^([\w.+-]+):", output("dpkg-query", "--search", *owned), re.M)):
    record = SYSTEM / "var/lib/dpkg/status.d" / package
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(output("dpkg-query", "--status", package))
    for licence in Path("/usr/share/doc", package).glob("copyright"):
        copy(licence)
copy("/usr/share/common-licenses")
subprocess.run(["find", SYSTEM, "-exec", "touch", "--no-dereference", "--date=@0", "{}", "+"])
EOF


# The compiled extension. It needs neither NumPy nor PyTorch to build.
FROM toolchain AS ext
ENV PYTHONPATH=/build PYTHONPYCACHEPREFIX=/build/bytecode
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=bind,source=requirements/build.txt,target=/tmp/build.txt \
    --mount=type=cache,target=/root/.cache/uv \
    /tools/bin/uv pip install --link-mode=copy --require-hashes \
        --target /build --requirement /tmp/build.txt && \
    python -c "import pybind11.setup_helpers, setuptools.command.build_ext"
WORKDIR /src
RUN --mount=type=bind,source=setup.py,target=setup.py \
    --mount=type=bind,source=csrc,target=csrc \
    python setup.py --quiet build_ext \
        --build-temp /tmp/objects --build-lib /opt/mnistctl/packages && \
    find /opt -exec touch --date=@0 {} +


# What `predict` and `validate` need.
FROM toolchain AS inference
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=bind,source=requirements/inference.txt,target=/tmp/inference.txt \
    --mount=type=cache,target=/root/.cache/uv <<"EOF"
set -eu
/tools/bin/uv pip install --link-mode=copy --no-deps --require-hashes \
    --target /opt/mnistctl/packages --requirement /tmp/inference.txt
cd /opt/mnistctl/packages
rm -r .lock bin numpy/tests numpy/*/tests numpy/_core/*_tests.*.so numpy/_core/_simd.*.so \
    numpy/_core/include numpy/f2py onnxruntime/capi/libonnxruntime.so.* onnxruntime/quantization \
    onnxruntime/tools onnxruntime/transformers pygments/lexers/[!_]*.py pygments/lexers/_*_builtins.py
strip --strip-unneeded PIL/*.so
/tools/bin/byte-compile-imports <<PROGRAM
import concurrent.futures.thread, gzip, json, secrets, shlex, tempfile
from pathlib import Path

import google.protobuf.text_format, numpy.random, numpy.typing, onnxruntime, typer
import rich.box, rich.progress, rich.table
from PIL import Image, ImageDraw, ImageFilter, ImageFont, ImageOps

Image.init()
rich.console.Console(stderr=True).print(rich.table.Table())
application = typer.Typer()


@application.command()
def command(path: Path | None = None) -> None: ...


application(["--help"], standalone_mode=False)
application([], standalone_mode=False)
PROGRAM
find /opt -exec touch --date=@0 {} +
EOF


# An index that is a directory: TORCH_INDEX=file:///torch-index and --build-context torch-index=…
FROM scratch AS torch-index


# What `train` needs besides: PyTorch, for the CPU from an index of PyTorch's own.
FROM toolchain AS torch-cpu
ARG TORCH_VERSION
ARG TORCH_INDEX
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=bind,from=torch-index,target=/torch-index \
    --mount=type=bind,source=requirements/training.txt,target=/tmp/training.txt \
    --mount=type=bind,source=requirements/torch-cpu.txt,target=/tmp/torch-cpu.txt \
    --mount=type=cache,target=/root/.cache/uv <<"EOF"
set -eu
install() {
    /tools/bin/uv pip install --link-mode=copy --no-deps --target /opt/mnistctl/packages "$@"
}
install --require-hashes --requirement /tmp/training.txt
install --index-url "$TORCH_INDEX" --requirement /tmp/torch-cpu.txt
/tools/bin/expect-torch-build cpu "$TORCH_VERSION"
cd /opt/mnistctl/packages
rm -r .lock bin mpmath/tests networkx/*/tests networkx/*/*/tests \
    onnx/backend onnx/defs/*/ onnx/reference sympy/*/tests sympy/*/*/tests sympy/physics \
    torch/_C torch/_VF.pyi torch/bin/*Test torch/bin/protoc* torch/bin/test_* torch/include torch/test \
    torch/lib/libaoti_custom_ops.so torch/lib/libbackend_with_compiler.so torch/lib/lib*_test.so
strip --strip-unneeded torch/lib/libtorch_cpu.so torch/lib/libtorch_python.so
/tools/bin/byte-compile-imports < /tools/training.py
python -B -m compileall -q -j 0 --invalidation-mode unchecked-hash ml_dtypes onnx torchvision
find /opt -exec touch --date=@0 {} +
EOF

# The same with CUDA, but for Triton, which compiles networks: nothing here does. Of NVIDIA's
# libraries, those go that no other library links to.
FROM toolchain AS torch-gpu
ARG TORCH_VERSION
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=bind,source=requirements/training.txt,target=/tmp/training.txt \
    --mount=type=bind,source=requirements/torch-gpu.txt,target=/tmp/torch-gpu.txt \
    --mount=type=cache,target=/root/.cache/uv <<"EOF"
set -eu
/tools/bin/uv pip install --link-mode=copy --no-deps --require-hashes \
    --target /opt/mnistctl/packages \
    --requirement /tmp/training.txt --requirement /tmp/torch-gpu.txt
/tools/bin/expect-torch-build cuda "$TORCH_VERSION"
cd /opt/mnistctl/packages
rm -r .lock bin mpmath/tests networkx/*/tests networkx/*/*/tests \
    onnx/backend onnx/defs/*/ onnx/reference sympy/*/tests sympy/*/*/tests sympy/physics \
    torch/_C torch/_VF.pyi torch/bin/protoc* torch/include \
    nvidia/*/include nvidia/nvshmem/lib/libnvshmem_device.bc
(cd nvidia/cu13/lib && rm libcufftw.so.* libcusolverMg.so.* libnvblas.so.* libnvperf_*.so \
    libnvrtc.alt.so.* libnvrtc-builtins.alt.so.*)
strip --strip-unneeded torch/lib/libtorch_cpu.so torch/lib/libtorch_cuda.so \
    torch/lib/libtorch_cuda_linalg.so torch/lib/libtorch_python.so
/tools/bin/byte-compile-imports < /tools/training.py
python -B -m compileall -q -j 0 --invalidation-mode unchecked-hash ml_dtypes onnx torchvision
find /opt -exec touch --date=@0 {} +
EOF


# The digits to train on, which `predict` and `validate` do without.
FROM base AS digits
RUN --mount=type=bind,source=mnistctl/mnist,target=/src <<"EOF"
set -eu
mkdir --parents /opt/mnistctl/packages/mnistctl/mnist
cp /src/train-* /opt/mnistctl/packages/mnistctl/mnist
chmod -R u=rwX,go=rX /opt/mnistctl
find /opt -exec touch --date=@0 {} +
EOF


# The program itself. Its files get the same mode wherever they were checked out.
FROM base AS app
COPY --chmod=755 <<"EOF" /opt/mnistctl/bin/mnistctl
#!/usr/bin/env python3
from mnistctl.__main__ import main

main()
EOF
RUN --mount=type=bind,source=mnistctl,target=/src <<"EOF"
set -eu
mkdir /opt/mnistctl/packages
cp -r /src /opt/mnistctl/packages/mnistctl
rm /opt/mnistctl/packages/mnistctl/mnist/train-*
chmod -R u=rwX,go=rX /opt/mnistctl/packages
python -B -m compileall -q --invalidation-mode unchecked-hash /opt/mnistctl/packages
find /opt -exec touch --date=@0 {} +
EOF


# ---- the pins ----

# Resolves every requirement anew, except PyTorch's version: that one is chosen by hand.
FROM tools AS resolve
ARG TORCH_VERSION
ARG TORCH_INDEX
WORKDIR /requirements
RUN --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=cache,target=/root/.cache/uv <<"EOF"
set -eu
declared() {
    python -c "import tomllib; print(*tomllib.load(open('/src/pyproject.toml', 'rb'))$1, sep='\n')"
}
pin() {
    /tools/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
        --no-annotate --custom-compile-command 'docker buildx bake requirements' "$@"
}
names() {
    sed -n 's/^\([a-z0-9-]*\)==.*/\1/p' "$1"
}
leaving_out() {
    cat "$@" | sed 's/^/--no-emit-package=/'
}

echo uv | pin - --output-file uv.txt
declared '["build-system"]["requires"]' | pin - --output-file build.txt
pin /src/pyproject.toml --output-file inference.txt
declared '["project"]["optional-dependencies"]["test"]' | grep -v '^mnistctl' |
    pin - --constraint inference.txt --output-file test.txt

# What training adds, in two files: PyTorch with CUDA, and the small ones that either build needs.
# Left out is what `inference` has, but for the one module without which PyTorch is not imported,
# and what only compiles: Triton and setuptools.
{
    declared '["project"]["optional-dependencies"]["train"]'
    echo "torch==$TORCH_VERSION"
} > train.in
train() {
    pin train.in --constraint inference.txt "$@"
}
train --output-file everything.txt
names everything.txt | grep -E '^(cuda|nvidia|torch)' > pytorch
names inference.txt | grep -v typing-extensions > elsewhere
printf '%s\n' setuptools triton >> elsewhere
train --output-file training.txt $(leaving_out elsewhere pytorch)
names training.txt > small
train --output-file torch-gpu.txt $(leaving_out elsewhere small)

# PyTorch's index may be out of reach: then its two wheels are pinned without their hashes.
sed -n 's/^\(torch[a-z]*==[^ ;]*\).*/\1/p' everything.txt > torch.in
pin torch.in --no-deps --index-url "$TORCH_INDEX" --output-file torch-cpu.txt || {
    echo "$TORCH_INDEX could not be used (above): requirements/torch-cpu.txt has no hashes." >&2
    echo '# Without hashes: the index of these builds could not be used when they were pinned.' \
        > torch-cpu.txt
    cat torch.in >> torch-cpu.txt
}
rm everything.txt
EOF

FROM scratch AS requirements
COPY --from=resolve /requirements/*.txt /


# ---- the images ----

FROM scratch AS runtime
COPY --link --from=system /system /
# ONNX Runtime sends usage data to its maker unless told not to. PyTorch makes a directory for its
# compiler, which is not used here: in the working directory, unless it is given one that exists.
ENV LANG=C.UTF-8 \
    ORT_DISABLE_TELEMETRY=1 \
    PATH=/opt/mnistctl/bin:/usr/local/bin:/usr/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/opt/mnistctl/packages \
    PYTHONPYCACHEPREFIX=/opt/mnistctl/bytecode \
    TORCHINDUCTOR_CACHE_DIR=/tmp
WORKDIR /work
USER 65532:65532
ENTRYPOINT ["mnistctl"]

FROM runtime AS predict
COPY --link --from=inference /opt /opt
COPY --link --from=ext /opt /opt
COPY --link --from=app /opt /opt

FROM runtime AS gpu
COPY --link --from=torch-gpu /opt /opt
COPY --link --from=digits /opt /opt
COPY --link --from=inference /opt /opt
COPY --link --from=ext /opt /opt
COPY --link --from=app /opt /opt

FROM runtime AS cpu
COPY --link --from=torch-cpu /opt /opt
COPY --link --from=digits /opt /opt
COPY --link --from=inference /opt /opt
COPY --link --from=ext /opt /opt
COPY --link --from=app /opt /opt


# ---- the suite, run in an image by its user and without a network ----

FROM base AS pytest
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=bind,source=requirements/test.txt,target=/tmp/test.txt \
    --mount=type=cache,target=/root/.cache/uv \
    /tools/bin/uv pip install --link-mode=copy --no-deps --require-hashes \
        --target /opt/pytest --requirement /tmp/test.txt

FROM cpu AS test
# pytest needs more of Pygments than the images hold, and the suite a shell.
ENV PYTHONPATH=/opt/pytest:/opt/mnistctl/packages
RUN --network=none \
    --mount=type=bind,from=base,source=/usr/bin,target=/usr/bin \
    --mount=type=bind,from=pytest,source=/opt/pytest,target=/opt/pytest \
    --mount=type=bind,source=pyproject.toml,target=/work/pyproject.toml \
    --mount=type=bind,source=tests,target=/work/tests \
    HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis python -m pytest -p no:cacheprovider


# What a build makes that names no target.
FROM cpu
