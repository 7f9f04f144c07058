"""What a change rebuilds, and how a build fails."""

import hashlib
import io
import json
import re
import tarfile
import uuid
import zipfile
from pathlib import Path
from typing import Any

import pytest
from container.engine import ROOT, VARIANTS, bake, build_argument, docker, inspect


def layers(image: str) -> list[str]:
    """Return the digests of an image's layers."""
    result = docker("image", "inspect", '--format={{join .RootFS.Layers " "}}', image)
    return result.stdout.split()


def rebuilt(progress: str) -> set[str]:
    """Return the stages of which a build ran a step."""
    steps = dict(
        re.findall(r"^#(\d+) \[(?:\S+ )?(\S+) +\d+/\d+\] (?:RUN|COPY|WORKDIR)", progress, re.M)
    )
    cached = set(re.findall(r"^#(\d+) CACHED", progress, re.M))
    return {stage for number, stage in steps.items() if number not in cached}


@pytest.mark.parametrize(
    ("file", "comment", "stage"),
    [
        ("mnistctl/errors.py", "#", "app"),
        ("csrc/argmax.cpp", "//", "ext"),
        ("requirements/inference.txt", "#", "inference"),
    ],
    ids=["Python", "C++", "small dependency"],
)
@pytest.mark.usefixtures("images")
def test_a_change_rebuilds_one_layer_and_not_pytorch(
    file: str, comment: str, stage: str, checkout: Path
) -> None:
    before = layers("mnistctl:gpu")
    with (checkout / file).open("a") as changed:
        changed.write(f"{comment} {uuid.uuid4()}\n")  # a change that is not in the build cache
    command = ("buildx", "build", "--progress=plain", "--target=gpu", "--tag=mnistctl:changed", ".")
    progress = docker(*command, cwd=checkout).stderr
    after = layers("mnistctl:changed")
    docker("image", "rm", "mnistctl:changed")
    assert rebuilt(progress) - {"gpu"} == {stage}
    pytorch = -5  # digits, inference, ext and app follow
    assert after[pytorch] == before[pytorch]


def content(image: str, archive: Path) -> tuple[Any, list[list[tuple[object, ...]]]]:
    """Return an image's configuration without the layers' digests, and the files of each layer."""
    docker("image", "save", "--output", archive, image)
    found = []
    with tarfile.open(archive) as saved:

        def read(name: str) -> Any:
            return json.loads((saved.extractfile(name) or io.BytesIO()).read())

        (manifest,) = read("manifest.json")
        configuration = read(manifest["Config"])
        del configuration["rootfs"]
        for layer in manifest["Layers"]:
            with tarfile.open(fileobj=saved.extractfile(layer)) as files:
                found.append([entry(files, member) for member in files])
    return configuration, found


def entry(files: tarfile.TarFile, member: tarfile.TarInfo) -> tuple[object, ...]:
    """Return the metadata of a file in a layer, and the digest of its content."""
    file = files.extractfile(member) if member.isfile() else None
    digest = hashlib.sha256(file.read()).hexdigest() if file else member.linkname
    header = (member.name, member.type, member.mode, member.uid, member.gid, member.mtime)
    return (*header, digest)


@pytest.mark.usefixtures("images")
def test_two_builds_with_one_source_date_have_the_same_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    build = ("buildx", "build", "--target=predict", "--load", ".")
    docker(*build, "--tag=mnistctl:first")
    docker(*build, "--tag=mnistctl:again", "--no-cache")
    (configuration, first), (other, again) = (
        content(f"mnistctl:{name}", tmp_path / name) for name in ("first", "again")
    )
    digests = {inspect(f"mnistctl:{name}", "{{.Id}}") for name in ("first", "again")}
    docker("image", "rm", "mnistctl:first", "mnistctl:again")
    assert configuration == other
    for ours, theirs in zip(first, again, strict=True):
        assert set(ours) ^ set(theirs) == set()
    # An engine without containerd's image store has two orders for the files of a layer: one sorts
    # "mnistctl-0.1.dist-info" before "mnistctl/cli.py", the other one after it.
    if first == again:
        assert len(digests) == 1


@pytest.mark.usefixtures("engine")
def test_the_error_for_an_unknown_image_names_it() -> None:
    assert "failed to find target tpu" in bake("tpu", check=False).stderr


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("COMPRESSION", "foo", "COMPRESSION must be zstd or gzip and not 'foo'"),
        (
            "PLATFORMS",
            "linux/amd64,foo/bar",
            "PLATFORMS must be of linux/amd64 and linux/arm64 and not 'linux/amd64,foo/bar'",
        ),
        (
            "PLATFORMS",
            "linux/arm64",
            "gpu can only be built for linux/amd64 and PLATFORMS is 'linux/arm64'",
        ),
    ],
    ids=["compression", "platform", "platform of gpu"],
)
@pytest.mark.usefixtures("engine")
def test_the_error_for_a_wrong_variable_says_what_is_right(
    variable: str, value: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    result = bake("--print", "release", check=False)
    assert result.returncode
    assert reason in result.stderr


@pytest.mark.usefixtures("engine")
def test_a_release_has_two_platforms_but_for_the_gpu() -> None:
    targets = json.loads(bake("--print", "release").stdout)["target"]
    platforms = {variant: targets[f"release-{variant}"]["platforms"] for variant in VARIANTS}
    both = ["linux/amd64", "linux/arm64"]
    assert platforms == {"predict": both, "cpu": both, "gpu": ["linux/amd64"]}


@pytest.mark.usefixtures("engine")
def test_a_release_has_the_documented_tags(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY", "registry.example/me")
    monkeypatch.setenv("TAG", "1.0")
    targets = json.loads(bake("--print", "release").stdout)["target"]
    name = "registry.example/me/mnistctl"
    assert {variant: targets[f"release-{variant}"]["tags"] for variant in VARIANTS} == {
        "predict": [f"{name}:1.0-predict"],
        "cpu": [f"{name}:1.0-cpu", f"{name}:1.0"],
        "gpu": [f"{name}:1.0-gpu"],
    }


@pytest.mark.usefixtures("engine")
def test_the_image_for_the_gpu_is_not_built_for_arm64() -> None:
    # An amd64 step that is told another platform: where nothing emulates arm64, none would run.
    platform = "--build-arg=TARGETPLATFORM=linux/arm64"
    result = docker("buildx", "build", platform, "--target=torch-gpu", ".", check=False)
    assert result.returncode
    assert "gpu can only be built for linux/amd64 and not linux/arm64" in result.stderr


@pytest.mark.usefixtures("engine")
def test_the_error_for_a_base_with_another_digest_names_the_digest() -> None:
    digest = f"sha256:{'0' * 64}"
    base = f"--build-arg=BASE=python@{digest}"
    result = docker("buildx", "build", base, "--target=base", ".", check=False)
    assert result.returncode
    assert f"python@{digest}: " in result.stderr


@pytest.mark.usefixtures("images")
def test_the_error_for_an_image_of_another_platform_names_the_one_asked_for() -> None:
    run = ("run", "--rm", "--pull=never", "--platform=linux/arm64", "mnistctl:predict", "--version")
    result = docker(*run, check=False)
    assert result.returncode
    # The sentence depends on the engine and on its image store.
    assert re.search(
        r"wanted linux/arm64, actual: linux/amd64"
        r"|\(linux/amd64\) does not match the specified platform \(linux/arm64\)"
        r"|does not provide the specified platform \(linux/arm64\)",
        result.stderr,
    )


@pytest.mark.usefixtures("engine")
def test_bases_with_two_pythons_stop_the_build(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(
        f"""
        FROM {build_argument("BASE")}
        RUN rm $(command -v python3) && \\
            printf '#!/bin/sh\\necho cpython-27' > /usr/bin/python3 && chmod +x /usr/bin/python3
        """
    )
    docker("buildx", "build", "--tag=mnistctl:other-python", "--load", tmp_path)
    base = "--build-arg=BASE=mnistctl:other-python"
    result = docker("buildx", "build", base, "--target=toolchain", ".", check=False)
    docker("image", "rm", "mnistctl:other-python")
    assert result.returncode
    assert re.search(r"TOOLCHAIN has cpython-.+ and BASE has cpython-27: set both", result.stderr)


@pytest.mark.usefixtures("engine")
def test_pytorch_for_the_cpu_comes_only_from_its_index() -> None:
    index = "--build-arg=TORCH_INDEX=file:///no-such-index"
    result = docker("buildx", "build", index, "--target=torch-cpu", ".", check=False)
    assert result.returncode
    assert "torch was not found in the package registry" in result.stderr


def write_wheel(index: Path, name: str, version: str, files: dict[str, str]) -> None:
    """Write a wheel into a package index that is a directory."""
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    (index / name).mkdir(parents=True)
    wheel = index / name / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    (index / name / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')


@pytest.fixture
def torch_index(tmp_path: Path) -> Path:
    """A package index with a CUDA build of the pinned PyTorch."""
    pins = (ROOT / "requirements/torch-cpu.txt").read_text()
    for name, version in re.findall(r"^(torch\w*)==([\d.]+)", pins, re.M):
        text = f"__version__ = '{version}+cu130'\ncuda = '13.0'\n"
        write_wheel(tmp_path, name, version, {f"{name}/version.py": text})
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((), "a CUDA build. This image needs a CPU build: set TORCH_INDEX"),
        (
            ("--build-arg=TORCH_VERSION=0.1",),
            "but TORCH_VERSION is 0.1: run TORCH_VERSION=0.1 docker buildx bake requirements.",
        ),
    ],
    ids=["build", "version"],
)
@pytest.mark.usefixtures("engine")
def test_another_pytorch_stops_the_build(
    arguments: tuple[str, ...], error: str, torch_index: Path
) -> None:
    result = docker(
        *("buildx", "build", "--target=torch-cpu", f"--build-context=torch-index={torch_index}"),
        *("--build-arg=TORCH_INDEX=file:///torch-index", *arguments, "."),
        check=False,
    )
    assert result.returncode
    assert error in result.stderr


def test_a_package_with_another_hash_stops_the_build(checkout: Path) -> None:
    pins = checkout / "requirements/inference.txt"
    mdurl = re.search(r"^mdurl==(\S+)(?:.*\\\n)(?:.*\\\n)*.*\n", pins.read_text(), re.M)
    assert mdurl
    wrong = re.sub(r"sha256:\w{64}", f"sha256:{'0' * 64}", mdurl[0])
    pins.write_text(pins.read_text().replace(mdurl[0], wrong))
    result = docker("buildx", "build", "--target=inference", ".", cwd=checkout, check=False)
    assert result.returncode
    assert f"Hash mismatch for `mdurl=={mdurl[1]}`" in result.stderr


def test_a_listed_path_that_does_not_exist_stops_the_build(checkout: Path) -> None:
    with (checkout / "docker/prune_inference.txt").open("a") as rules:
        rules.write("numpy/f3py  moved\n")
    result = docker("buildx", "build", "--target=inference", ".", cwd=checkout, check=False)
    assert result.returncode
    assert "prune_inference.txt lists what does not exist: numpy/f3py." in result.stderr


def test_the_suite_passes_in_the_image(checkout: Path) -> None:
    with (checkout / "tests/support.py").open("a") as changed:
        changed.write(f"# {uuid.uuid4()}\n")  # a suite that is not in the build cache
    assert " passed" in bake("test", cwd=checkout).stderr
