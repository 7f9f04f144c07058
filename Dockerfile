# mnistctl as three images that share their layers: predict (without PyTorch), cpu and gpu.
#
# Each stage under "layers" makes one layer, independent of the others. So a change rebuilds only the
# layers made from the changed file, and PyTorch's layer, by far the largest, keeps its digest. Steps
# longer than a few lines are files in docker/.

ARG PYTHON_VERSION=3.13
ARG BASE=python:${PYTHON_VERSION}-slim-trixie
ARG TOOLCHAIN=python:${PYTHON_VERSION}-trixie
ARG TORCH_VERSION=2.13.0
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu


# ---- build tools, which no image contains ----

# All packages and their byte code go to /opt/mnistctl, with any base image. With a fixed hash seed,
# Python writes the same byte code each time.
FROM ${BASE} AS base
ENV PYTHONHASHSEED=0 \
    PYTHONPATH=/opt/mnistctl/packages \
    PYTHONPYCACHEPREFIX=/opt/mnistctl/bytecode

# uv, which installs packages.
FROM base AS tools
RUN --mount=type=bind,source=requirements/uv.txt,target=/tmp/uv.txt \
    pip install --no-cache-dir --no-compile --root-user-action=ignore \
        --require-hashes --target /tools --requirement /tmp/uv.txt

# The base's Python with a compiler. Installing a compiler would take longer than all other steps of
# predict.
FROM ${TOOLCHAIN} AS toolchain
ENV PATH=/tools/bin:${PATH} \
    PYTHONHASHSEED=0 \
    PYTHONPATH=/opt/mnistctl/packages \
    PYTHONPYCACHEPREFIX=/opt/mnistctl/bytecode
RUN --mount=type=bind,from=base,target=/base \
    --mount=type=bind,source=docker/check_same_python.sh,target=/docker/check_same_python.sh \
    sh /docker/check_same_python.sh /base


# ---- layers ----
#
# Every file gets the same date, so that the same files make the same layer, byte for byte. Programs
# in docker/ run with `python -B`: their own byte code must not get into a layer.

# Python and its shared libraries: no shell, no package manager.
FROM base AS system
RUN --mount=type=bind,source=docker/collect_system.py,target=/docker/collect_system.py \
    --mount=type=bind,source=docker/prune.py,target=/docker/prune.py \
    --mount=type=bind,source=docker/prune_system.txt,target=/docker/prune_system.txt \
    python -B /docker/collect_system.py

# The compiled extension. The import keeps the byte code of the build tools for later rebuilds.
FROM toolchain AS ext
ENV PYTHONPATH=/build PYTHONPYCACHEPREFIX=/build/bytecode
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=bind,source=requirements/build.txt,target=/tmp/build.txt \
    --mount=type=cache,target=/root/.cache/uv \
    uv pip install --link-mode=copy --require-hashes \
        --target /build --requirement /tmp/build.txt && \
    python -c "import pybind11.setup_helpers, setuptools.command.build_ext"
WORKDIR /src
RUN --mount=type=bind,source=setup.py,target=setup.py \
    --mount=type=bind,source=csrc,target=csrc \
    python setup.py --quiet build_ext \
        --build-temp /tmp/objects --build-lib /opt/mnistctl/packages && \
    find /opt -exec touch --date=@0 {} +

# The dependencies of predict and validate.
FROM toolchain AS inference
WORKDIR /opt/mnistctl/packages
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=bind,source=docker/import_inference.py,target=/docker/import_inference.py \
    --mount=type=bind,source=docker/prune.py,target=/docker/prune.py \
    --mount=type=bind,source=docker/prune_inference.txt,target=/docker/prune_inference.txt \
    --mount=type=bind,source=docker/trust_bytecode.py,target=/docker/trust_bytecode.py \
    --mount=type=bind,source=requirements/inference.txt,target=/tmp/inference.txt \
    --mount=type=cache,target=/root/.cache/uv \
    uv pip install --link-mode=copy --no-deps --require-hashes \
        --target . --requirement /tmp/inference.txt && \
    python -B /docker/prune.py /docker/prune_inference.txt && \
    strip --strip-unneeded PIL/*.so numpy/*/*.so pillow.libs/libfreetype* && \
    python /docker/import_inference.py && \
    python -B /docker/trust_bytecode.py "$PYTHONPYCACHEPREFIX" && \
    find /opt -exec touch --date=@0 {} +

# A package index that is a directory: TORCH_INDEX=file:///torch-index --build-context torch-index=DIR
FROM scratch AS torch-index

# The programs that prepare both builds of PyTorch.
FROM scratch AS torch-scripts
COPY docker/check_torch_build.py docker/import_training.py docker/prepare_torch.sh docker/prune.py \
    docker/prune_torch.txt docker/trust_bytecode.py /

# PyTorch for the CPU, and the other dependencies of train.
FROM toolchain AS torch-cpu
ARG TORCH_VERSION
ARG TORCH_INDEX
WORKDIR /opt/mnistctl/packages
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=bind,from=torch-scripts,target=/docker \
    --mount=type=bind,from=torch-index,target=/torch-index \
    --mount=type=bind,source=requirements/training.txt,target=/tmp/training.txt \
    --mount=type=bind,source=requirements/torch-cpu.txt,target=/tmp/torch-cpu.txt \
    --mount=type=cache,target=/root/.cache/uv \
    uv pip install --link-mode=copy --no-deps --require-hashes \
        --target . --requirement /tmp/training.txt && \
    uv pip install --link-mode=copy --no-deps --index-url "$TORCH_INDEX" \
        --target . --requirement /tmp/torch-cpu.txt && \
    sh /docker/prepare_torch.sh cpu "$TORCH_VERSION" && \
    find /opt -exec touch --date=@0 {} +

# PyTorch with CUDA, and the other dependencies of train.
FROM toolchain AS torch-gpu
ARG TARGETPLATFORM
RUN test "$TARGETPLATFORM" = linux/amd64 || \
    { echo "gpu can only be built for linux/amd64 and not $TARGETPLATFORM" >&2; exit 1; }
ARG TORCH_VERSION
WORKDIR /opt/mnistctl/packages
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=bind,from=torch-scripts,target=/docker \
    --mount=type=bind,source=requirements/training.txt,target=/tmp/training.txt \
    --mount=type=bind,source=requirements/torch-gpu.txt,target=/tmp/torch-gpu.txt \
    --mount=type=cache,target=/root/.cache/uv \
    uv pip install --link-mode=copy --no-deps --require-hashes \
        --target . --requirement /tmp/training.txt --requirement /tmp/torch-gpu.txt && \
    sh /docker/prepare_torch.sh gpu "$TORCH_VERSION" && \
    find /opt -exec touch --date=@0 {} +

# The training set, which predict and validate do not need.
FROM base AS digits
RUN --mount=type=bind,source=mnistctl/mnist,target=/src \
    mkdir --parents /opt/mnistctl/packages/mnistctl/mnist && \
    cp /src/train-* /opt/mnistctl/packages/mnistctl/mnist && \
    chmod -R u=rwX,go=rX /opt/mnistctl && \
    find /opt -exec touch --date=@0 {} +

# mnistctl itself: its Python code, the model, its metadata and its entry point. The import keeps the
# byte code of the standard library, which official images lack, for later rebuilds.
FROM base AS app
ENV PYTHONPYCACHEPREFIX=/bytecode
RUN --mount=type=bind,source=docker/install_package.py,target=/docker/install_package.py \
    PYTHONPATH=/docker python -c "import install_package"
RUN --mount=type=bind,source=docker/install_package.py,target=/docker/install_package.py \
    --mount=type=bind,source=mnistctl,target=/src/mnistctl \
    --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=bind,source=LICENSE,target=/src/LICENSE \
    python -B /docker/install_package.py /src /opt/mnistctl && \
    find /opt -exec touch --date=@0 {} +


# ---- the pinned requirements ----

# Resolves every version again, except PyTorch's, which is chosen by hand.
FROM tools AS resolve
ARG TORCH_VERSION
ARG TORCH_INDEX
ENV PATH=/tools/bin:${PATH}
WORKDIR /requirements
RUN --mount=type=bind,source=docker/pin_requirements.sh,target=/docker/pin_requirements.sh \
    --mount=type=bind,source=docker/requirements_of.py,target=/docker/requirements_of.py \
    --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=cache,target=/root/.cache/uv \
    sh /docker/pin_requirements.sh /src/pyproject.toml "$TORCH_VERSION" "$TORCH_INDEX"

FROM scratch AS requirements
COPY --from=resolve /requirements/*.txt /


# ---- images ----

# GLIBC_TUNABLES: huge pages for malloc take 6 % off the time of a prediction.
# TORCHINDUCTOR_CACHE_DIR: PyTorch creates this directory although nothing here uses its compiler.
FROM scratch AS runtime
COPY --link --from=system /system /
ENV GLIBC_TUNABLES=glibc.malloc.hugetlb=1 \
    LANG=C.UTF-8 \
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


# ---- the test suite, run in the cpu image as its user, offline ----

FROM base AS pytest
RUN --mount=type=bind,from=tools,source=/tools,target=/tools \
    --mount=type=bind,source=requirements/test.txt,target=/tmp/test.txt \
    --mount=type=cache,target=/root/.cache/uv \
    /tools/bin/uv pip install --link-mode=copy --no-deps --require-hashes \
        --target /opt/pytest --requirement /tmp/test.txt && \
    mkdir /opt/pytest/shell && \
    cp /usr/lib/*/libtinfo.so.6 /opt/pytest/shell

# /opt/pytest comes first: pytest needs all of Pygments. /usr/bin: the suite needs a shell, which
# links to a library of its own.
FROM cpu AS test
ENV HYPOTHESIS_STORAGE_DIRECTORY=/tmp/hypothesis \
    LD_LIBRARY_PATH=/opt/pytest/shell \
    PYTHONPATH=/opt/pytest:/opt/mnistctl/packages
RUN --network=none \
    --mount=type=bind,from=base,source=/usr/bin,target=/usr/bin \
    --mount=type=bind,from=pytest,source=/opt/pytest,target=/opt/pytest \
    --mount=type=bind,source=pyproject.toml,target=/work/pyproject.toml \
    --mount=type=bind,source=tests,target=/work/tests \
    ["python", "-m", "pytest", "-p", "no:cacheprovider"]


# ---- the linters ----

FROM tools AS lint
RUN --mount=type=bind,source=requirements/lint.txt,target=/tmp/lint.txt \
    --mount=type=cache,target=/root/.cache/uv \
    /tools/bin/uv pip install --link-mode=copy --require-hashes \
        --target /lint --requirement /tmp/lint.txt
WORKDIR /src
# DL3006 asks for tags, but the example's bases are stages and images that docker-bake.hcl passes.
RUN --mount=type=bind,target=/src \
    /lint/bin/hadolint Dockerfile && \
    /lint/bin/hadolint --ignore=DL3006 examples/service/Dockerfile && \
    /lint/bin/shellcheck docker/*.sh .ci/run


# The default target.
FROM cpu
