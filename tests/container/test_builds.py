"""What a change builds anew, and how a build fails."""

import re
import shutil
import uuid
import zipfile
from pathlib import Path

import pytest
from engine import ROOT, bake, build_argument, docker

SOURCES = (
    *("Dockerfile", ".dockerignore", "docker-bake.hcl", "pyproject.toml", "setup.py"),
    *("csrc", "mnistctl", "requirements", "tests"),
)


@pytest.fixture
def checkout(tmp_path: Path, images: None) -> Path:  # noqa: ARG001
    """A copy of what the images are built from, to change."""
    for name in SOURCES:
        source, target = ROOT / name, tmp_path / name
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.so"))
        else:
            shutil.copy(source, target)
    return tmp_path


def layers(image: str) -> list[str]:
    found = docker("image", "inspect", '--format={{join .RootFS.Layers " "}}', image)
    return found.stdout.split()


def built_anew(progress: str) -> set[str]:
    """The stages of which a build ran a step."""
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
    ids=["Python", "C++", "a small dependency"],
)
def test_a_change_builds_one_layer_anew_and_pytorch_stays(
    file: str, comment: str, stage: str, checkout: Path
) -> None:
    before = layers("mnistctl:gpu")
    with (checkout / file).open("a") as changed:
        changed.write(f"{comment} {uuid.uuid4()}\n")  # none that the build cache knows already
    command = ("buildx", "build", "--progress=plain", "--target=gpu", "--tag=mnistctl:changed", ".")
    progress = docker(*command, cwd=checkout).stderr
    after = layers("mnistctl:changed")
    docker("image", "rm", "mnistctl:changed")
    assert built_anew(progress) - {"gpu"} == {stage}
    pytorch = -5  # then digits, inference, ext and app
    assert after[pytorch] == before[pytorch]


def test_two_builds_of_one_state_are_the_same_to_the_byte(images: None) -> None:  # noqa: ARG001
    anew = "--no-cache-filter=system,inference,ext,app,runtime,predict"
    docker("buildx", "build", anew, "--target=predict", "--tag=mnistctl:again", ".")
    again = layers("mnistctl:again")
    docker("image", "rm", "mnistctl:again")
    assert again == layers("mnistctl:predict")


@pytest.mark.parametrize("target", ["tpu"])
def test_an_image_that_does_not_exist_is_named(target: str, engine: None) -> None:  # noqa: ARG001
    assert f"failed to find target {target}" in bake(target, check=False).stderr


def test_bases_of_two_pythons_stop_the_build(engine: None, tmp_path: Path) -> None:  # noqa: ARG001
    (tmp_path / "Dockerfile").write_text(
        f"""
        FROM {build_argument("BASE")}
        RUN rm $(command -v python3) && \\
            printf '#!/bin/sh\\necho cpython-27' > /usr/bin/python3 && chmod +x /usr/bin/python3
        """
    )
    docker("buildx", "build", "--tag=mnistctl:other-python", "--load", tmp_path)
    other = "--build-arg=BASE=mnistctl:other-python"
    result = docker("buildx", "build", other, "--target=toolchain", ".", check=False)
    docker("image", "rm", "mnistctl:other-python")
    assert result.returncode
    assert re.search(r"TOOLCHAIN holds cpython-\S+ and BASE cpython-27: name", result.stderr)


def test_pytorch_for_the_cpu_comes_from_the_index_alone(engine: None) -> None:  # noqa: ARG001
    # Without --build-context or another bake file, as a user builds it.
    index = "--build-arg=TORCH_INDEX=file:///no-such-index"
    result = docker("buildx", "build", index, "--target=torch-cpu", ".", check=False)
    assert result.returncode
    assert "torch was not found in the package registry" in result.stderr


def wheel(directory: Path, name: str, version: str, files: dict[str, str]) -> None:
    """Write a wheel into an index of files."""
    info = f"{name}-{version}.dist-info"
    files = {
        **files,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    (directory / name).mkdir(parents=True)
    file = directory / name / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    (directory / name / "index.html").write_text(f'<a href="{file.name}">{file.name}</a>')


def test_an_index_that_serves_another_build_of_pytorch_stops_the_build(
    checkout: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    index = tmp_path_factory.mktemp("index")
    for name, version in re.findall(
        r"^(torch\w*)==([\d.]+)", (checkout / "requirements/torch-cpu.txt").read_text(), re.M
    ):
        text = f"__version__ = '{version}+cu130'\ncuda = '13.0'\n"
        wheel(index, name, version, {f"{name}/version.py": text})
    result = docker(
        *("buildx", "build", "--target=torch-cpu", f"--build-context=torch-index={index}"),
        *("--build-arg=TORCH_INDEX=file:///torch-index", "."),
        cwd=checkout,
        check=False,
    )
    assert result.returncode
    assert "a cuda build, and this image needs a cpu build: name an index" in result.stderr


def test_a_version_of_pytorch_that_is_not_pinned_stops_the_build(engine: None) -> None:  # noqa: ARG001
    other = "--build-arg=TORCH_VERSION=0.1"
    result = docker("buildx", "build", other, "--target=torch-gpu", ".", check=False)
    assert result.returncode
    assert "not 0.1 (TORCH_VERSION): docker buildx bake requirements pins that" in result.stderr


def test_a_package_that_is_not_the_pinned_one_stops_the_build(checkout: Path) -> None:
    pins = checkout / "requirements/inference.txt"
    mdurl = re.search(r"^mdurl==(\S+)(?:.*\\\n)(?:.*\\\n)*.*\n", pins.read_text(), re.M)
    assert mdurl
    wrong = re.sub(r"sha256:\w{64}", f"sha256:{'0' * 64}", mdurl[0])
    pins.write_text(pins.read_text().replace(mdurl[0], wrong))
    result = docker("buildx", "build", "--target=inference", ".", cwd=checkout, check=False)
    assert result.returncode
    assert f"Hash mismatch for `mdurl=={mdurl[1]}`" in result.stderr


def test_a_path_to_prune_that_is_not_there_stops_the_build(checkout: Path) -> None:
    dockerfile = checkout / "Dockerfile"
    text = dockerfile.read_text()
    dockerfile.write_text(text.replace("numpy/f2py", "numpy/f2py numpy/f3py"))
    result = docker("buildx", "build", "--target=inference", ".", cwd=checkout, check=False)
    assert result.returncode
    assert "rm: cannot remove 'numpy/f3py': No such file or directory" in result.stderr


def test_the_suite_passes_in_the_image(checkout: Path) -> None:
    with (checkout / "tests/support.py").open("a") as changed:
        changed.write(f"# {uuid.uuid4()}\n")  # a suite that the build cache does not know
    assert " passed" in bake("test", cwd=checkout).stderr
