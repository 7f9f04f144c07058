import errno
import gzip
import hashlib
import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from support import error_allowed, idx, write_mnist

from mnistctl import dataset
from mnistctl.dataset import BUNDLED, Dataset, Split, as_input, load_dataset
from mnistctl.errors import MnistctlError

IMAGES = "t10k-images-idx3-ubyte"
LABELS = "t10k-labels-idx1-ubyte"


@pytest.fixture
def folder(tmp_path: Path, mnist_test: Dataset) -> Path:
    """A valid data set of twenty images, not gzipped."""
    (tmp_path / IMAGES).write_bytes(idx(mnist_test.images[:20]))
    (tmp_path / LABELS).write_bytes(idx(mnist_test.labels[:20]))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "md5"),
    [
        ("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
        ("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
        ("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
        ("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
    ],
)
def test_bundled_files_are_the_canonical_ones(name: str, md5: str) -> None:
    assert hashlib.md5((BUNDLED / name).read_bytes()).hexdigest() == md5


@pytest.mark.parametrize(("split", "count"), [("train", 60_000), ("test", 10_000)])
def test_bundled_split_has_the_images_and_labels_of_mnist(split: Split, count: int) -> None:
    loaded = load_dataset(split)
    assert loaded.images.shape == (count, 28, 28)
    assert loaded.images.dtype == loaded.labels.dtype == np.uint8
    assert sorted(set(loaded.labels.tolist())) == list(range(10))
    assert len(loaded) == count


def test_network_input_is_in_0_to_1(mnist_test: Dataset) -> None:
    images = as_input(mnist_test.images[:20])
    assert images.dtype == np.float32
    assert (images.min(), images.max()) == (0, 1)
    np.testing.assert_array_equal((images * 255).round(), mnist_test.images[:20])


def test_plain_files_are_read(folder: Path, mnist_test: Dataset) -> None:
    np.testing.assert_array_equal(load_dataset("test", folder).images, mnist_test.images[:20])


@pytest.mark.parametrize(
    "below", [".", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw", "QMNIST/raw"]
)
def test_gzipped_files_are_read_where_torchvision_keeps_them(
    tmp_path: Path, below: str, mnist_test: Dataset
) -> None:
    write_mnist(tmp_path / below, mnist_test.images[:5], mnist_test.labels[:5])
    assert load_dataset("train", tmp_path).labels.tolist() == [7, 2, 1, 0, 4]


def test_directory_with_several_data_sets_is_refused_and_names_them(
    tmp_path: Path, mnist_test: Dataset
) -> None:
    for name in ("MNIST", "FashionMNIST"):
        write_mnist(tmp_path / name / "raw", mnist_test.images[:5], mnist_test.labels[:5])
    images = "t10k-images-idx3-ubyte.gz"
    both = f"{tmp_path}/MNIST/raw/{images} and {tmp_path}/FashionMNIST/raw/{images}"
    message = f"{tmp_path}: holds {both}: give a directory with one data set"
    with pytest.raises(MnistctlError, match=f"^{re.escape(message)}$"):
        load_dataset("test", tmp_path)
    assert len(load_dataset("test", tmp_path / "FashionMNIST" / "raw")) == 5


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 28, 28), np.float32), np.zeros(2, np.uint8), "images must be uint8"),
        (np.zeros((2, 28, 27), np.uint8), np.zeros(2, np.uint8), r"not uint8 \(2, 28, 27\)"),
        (np.zeros((2, 28, 28), np.uint8), np.zeros(3, np.uint8), r"labels must be uint8 \(2,\)"),
        (np.zeros((2, 28, 28), np.uint8), np.zeros(2), r"labels must be uint8 .*not float64"),
        (np.zeros((2, 28, 28), np.uint8), np.full(2, 10, np.uint8), "from 0 to 9, not 10"),
    ],
)
def test_other_arrays_than_those_of_a_data_set_are_a_value_error(
    images: NDArray[Any], labels: NDArray[Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Dataset(images, labels)


def test_a_list_for_an_array_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="labels must be an array of NumPy, not list"):
        Dataset(np.zeros((1, 28, 28), np.uint8), [1])  # type: ignore[arg-type]


def test_data_set_directly_in_the_directory_comes_before_those_below(
    tmp_path: Path, mnist_test: Dataset
) -> None:
    write_mnist(tmp_path, mnist_test.images[:5], mnist_test.labels[:5])
    write_mnist(tmp_path / "MNIST" / "raw", mnist_test.images[:3], mnist_test.labels[:3])
    assert len(load_dataset("test", tmp_path)) == 5


def test_data_set_of_which_the_other_split_is_missing_is_read(folder: Path) -> None:
    assert len(load_dataset("test", folder)) == 20
    with pytest.raises(MnistctlError, match="holds no train-images-idx3-ubyte"):
        load_dataset("train", folder)


def test_qmnist_is_read(tmp_path: Path, mnist_test: Dataset) -> None:
    labels = np.zeros((3, 8), ">i4")
    labels[:, 0] = [7, 2, 1]
    (tmp_path / "qmnist-test-images-idx3-ubyte").write_bytes(idx(mnist_test.images[:3]))
    (tmp_path / "qmnist-test-labels-idx2-int.gz").write_bytes(gzip.compress(idx(labels)))
    assert load_dataset("test", tmp_path).labels.tolist() == [7, 2, 1]


@pytest.mark.parametrize(("name", "shown"), [("nowhere", "nowhere"), ("a\0b", r"a\x00b")])
def test_missing_directory_is_refused(tmp_path: Path, name: str, shown: str) -> None:
    message = f"{tmp_path}/{shown}: is not a directory with a data set"
    with pytest.raises(MnistctlError, match=f"^{re.escape(message)}$"):
        load_dataset("test", tmp_path / name)


@pytest.mark.parametrize("folder", ["data", "data/MNIST/raw"])
def test_directory_without_permission_is_not_called_missing(
    folder: str, small_mnist: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_mnist, tmp_path / folder)
    stat = Path.stat

    def refuse(path: Path, **options: bool) -> os.stat_result:
        if path.parent == tmp_path / folder:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(MnistctlError, match=rf"{folder}/.+: cannot be read: Permission denied"):
        load_dataset("test", tmp_path / "data")


def test_name_of_a_directory_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MnistctlError, match="aaa: cannot be read: File name too long"):
        load_dataset("test", tmp_path / ("a" * 300))


def test_directory_without_a_data_set_is_refused(tmp_path: Path) -> None:
    message = f"{tmp_path}: holds no {IMAGES}[.gz] and {LABELS}[.gz]"
    with pytest.raises(MnistctlError, match=f"^{re.escape(message)}$"):
        load_dataset("test", tmp_path)


@pytest.mark.parametrize(("kept", "missing"), [(IMAGES, LABELS), (LABELS, IMAGES)])
def test_lone_file_is_refused_with_the_name_of_the_missing_one(
    folder: Path, kept: str, missing: str
) -> None:
    (folder / missing).unlink()
    message = f"{folder}: holds {kept}, but no {missing}[.gz] beside it"
    with pytest.raises(MnistctlError, match=f"^{re.escape(message)}$"):
        load_dataset("test", folder)


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 4, 10, 100])
def test_truncated_file_is_refused(folder: Path, kept: int) -> None:
    path = folder / IMAGES
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(MnistctlError, match=f"{IMAGES}: (is not an IDX file|does not h)"):
        load_dataset("test", folder)


def test_truncated_gzip_file_is_refused(folder: Path) -> None:
    path = folder / IMAGES
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(path.read_bytes())[:-40])
    path.unlink()
    with pytest.raises(MnistctlError, match=r"gz: is damaged .*: download it again"):
        load_dataset("test", folder)


def test_gz_file_that_is_not_gzipped_is_refused(folder: Path) -> None:
    (folder / IMAGES).rename(folder / f"{IMAGES}.gz")
    with pytest.raises(MnistctlError, match=r"gz: is damaged"):
        load_dataset("test", folder)


def test_directory_in_the_place_of_a_file_is_refused(folder: Path) -> None:
    (folder / IMAGES).unlink()
    (folder / IMAGES).mkdir()
    with pytest.raises(MnistctlError, match=f"{IMAGES}: cannot be read: Is a directory"):
        load_dataset("test", folder)


@pytest.mark.parametrize("magic", ["01000803", "00000903", "00000804", "00000800"])
def test_wrong_magic_number_is_refused(folder: Path, magic: str) -> None:
    path = folder / IMAGES
    path.write_bytes(bytes.fromhex(magic) + path.read_bytes()[4:])
    with pytest.raises(MnistctlError, match=rf"is not an IDX file \(it starts with {magic}\)"):
        load_dataset("test", folder)


def test_file_with_more_values_than_its_header_announces_is_refused(folder: Path) -> None:
    with (folder / LABELS).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(MnistctlError, match=r"does not \w+ the 20 values .*header"):
        load_dataset("test", folder)


def test_header_that_announces_gigabytes_is_refused(folder: Path) -> None:
    (folder / IMAGES).write_bytes(bytes.fromhex("00000803ffffffffffffffffffffffff"))
    with pytest.raises(MnistctlError, match="the 4294967295 x 4294967295 x 4294967295 values"):
        load_dataset("test", folder)


def test_gzip_bomb_is_refused_before_it_is_read_whole(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dataset, "_MAX_BYTES", 1_000_000)
    (folder / IMAGES).unlink()
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(bytes(1_000_001)))
    with pytest.raises(MnistctlError, match="gz: is larger than 1,000,000 bytes"):
        load_dataset("test", folder)


@pytest.mark.parametrize("shape", ["00000000ffffffffffffffff", "000000050000000000000000"])
def test_header_that_announces_no_values_is_refused(folder: Path, shape: str) -> None:
    (folder / IMAGES).write_bytes(bytes.fromhex("00000803" + shape))
    with pytest.raises(MnistctlError, match=f"{IMAGES}: is an empty data set"):
        load_dataset("test", folder)


def test_empty_data_set_is_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path, np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.uint8))
    with pytest.raises(MnistctlError, match="is an empty data set"):
        load_dataset("test", tmp_path)


def test_labels_and_images_that_differ_in_number_are_refused(
    folder: Path, mnist_test: Dataset
) -> None:
    (folder / LABELS).write_bytes(idx(mnist_test.labels[:19]))
    with pytest.raises(MnistctlError, match=rf"{LABELS}: has labels of shape \(19,\), not \(20,\)"):
        load_dataset("test", folder)


def test_images_of_another_size_are_refused(folder: Path) -> None:
    (folder / IMAGES).write_bytes(idx(np.zeros((20, 32, 32), np.uint8)))
    with pytest.raises(MnistctlError, match="not 8-bit images of 28x28 pixels"):
        load_dataset("test", folder)


def test_images_of_32_bits_are_refused(folder: Path) -> None:
    (folder / IMAGES).write_bytes(idx(np.zeros((20, 28, 28), ">i4")))
    with pytest.raises(MnistctlError, match="not 8-bit images of 28x28 pixels"):
        load_dataset("test", folder)


def test_labels_of_three_dimensions_are_refused(folder: Path) -> None:
    (folder / LABELS).write_bytes(idx(np.zeros((20, 1, 1), np.uint8)))
    with pytest.raises(
        MnistctlError, match=rf"{LABELS}: has labels of shape \(20, 1, 1\), not \(20,\)"
    ):
        load_dataset("test", folder)


def test_labels_above_nine_are_refused(folder: Path) -> None:
    (folder / LABELS).write_bytes(idx(np.full(20, 10, np.uint8)))
    with pytest.raises(MnistctlError, match="has labels from 10 to 10, not from 0 to 9"):
        load_dataset("test", folder)


def test_labels_below_zero_are_refused(folder: Path) -> None:
    (folder / LABELS).write_bytes(idx(np.full(20, -1, ">i4")))
    with pytest.raises(MnistctlError, match="has labels from -1 to -1, not from 0 to 9"):
        load_dataset("test", folder)


@given(data=st.data(), damage=st.binary(min_size=1, max_size=8), gzipped=st.booleans())
def test_damaged_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, damage: bytes, gzipped: bool
) -> None:
    directory = tmp_path_factory.getbasetemp() / "damaged"
    directory.mkdir(exist_ok=True)
    for path in directory.iterdir():
        path.unlink()
    (directory / LABELS).write_bytes(idx(np.zeros(2, np.uint8)))
    content = idx(np.zeros((2, 28, 28), np.uint8))
    content = gzip.compress(content) if gzipped else content
    start = data.draw(st.integers(0, min(len(content), 40)))
    damaged = content[:start] + damage + content[start + len(damage) :]
    (directory / f"{IMAGES}{'.gz' if gzipped else ''}").write_bytes(damaged)
    with error_allowed():
        assert load_dataset("test", directory).images.shape == (2, 28, 28)
