import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest
from support import idx, write_mnist

from mnistctl import dataset
from mnistctl.dataset import Digits
from mnistctl.errors import MnistctlError

IMAGES = "t10k-images-idx3-ubyte"
LABELS = "t10k-labels-idx1-ubyte"


@pytest.fixture
def folder(tmp_path: Path, mnist_test: Digits) -> Path:
    """A sound data set of twenty digits, not gzipped."""
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
def test_the_bundled_files_are_the_canonical_ones(name: str, md5: str) -> None:
    assert hashlib.md5((dataset.BUNDLED / name).read_bytes()).hexdigest() == md5


@pytest.mark.parametrize(("split", "count"), [("train", 60_000), ("test", 10_000)])
def test_a_bundled_split_has_mnist_s_pictures_and_labels(split: str, count: int) -> None:
    digits = dataset.load(split)
    assert digits.images.shape == (count, 28, 28)
    assert sorted(set(digits.labels.tolist())) == list(range(10))


def test_plain_files_are_read(folder: Path, mnist_test: Digits) -> None:
    np.testing.assert_array_equal(dataset.load("test", folder).images, mnist_test.images[:20])


@pytest.mark.parametrize("below", [".", "MNIST/raw", "FashionMNIST/raw", "KMNIST/raw"])
def test_gzipped_files_are_read_where_torchvision_keeps_them(
    tmp_path: Path, below: str, mnist_test: Digits
) -> None:
    write_mnist(tmp_path / below, mnist_test.images[:5], mnist_test.labels[:5])
    assert dataset.load("train", tmp_path).labels.tolist() == [7, 2, 1, 0, 4]


def test_qmnist_is_read(tmp_path: Path, mnist_test: Digits) -> None:
    labels = np.zeros((3, 8), ">i4")
    labels[:, 0] = [7, 2, 1]
    (tmp_path / "qmnist-test-images-idx3-ubyte").write_bytes(idx(mnist_test.images[:3]))
    (tmp_path / "qmnist-test-labels-idx2-int.gz").write_bytes(gzip.compress(idx(labels)))
    assert dataset.load("test", tmp_path).labels.tolist() == [7, 2, 1]


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MnistctlError, match="nowhere: is not a directory"):
        dataset.load("test", tmp_path / "nowhere")


def test_a_directory_without_a_data_set_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MnistctlError, match="holds no t10k-images-idx3-ubyte"):
        dataset.load("test", tmp_path)


def test_a_lone_file_is_refused_by_the_name_of_the_missing_one(folder: Path) -> None:
    (folder / LABELS).unlink()
    with pytest.raises(MnistctlError, match=f"lacks {LABELS}"):
        dataset.load("test", folder)


@pytest.mark.parametrize("kept", [0, 3, 10, 100])
def test_a_truncated_file_is_refused(folder: Path, kept: int) -> None:
    path = folder / IMAGES
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(MnistctlError, match=f"{IMAGES}: (is not an IDX|ends within|has fewer)"):
        dataset.load("test", folder)


def test_a_truncated_gzip_file_is_refused(folder: Path) -> None:
    path = folder / IMAGES
    (folder / f"{IMAGES}.gz").write_bytes(gzip.compress(path.read_bytes())[:-40])
    path.unlink()
    with pytest.raises(MnistctlError, match=r"gz: is damaged"):
        dataset.load("test", folder)


def test_a_file_that_is_no_gzip_is_refused(folder: Path) -> None:
    (folder / IMAGES).rename(folder / f"{IMAGES}.gz")
    with pytest.raises(MnistctlError, match=r"gz: is damaged"):
        dataset.load("test", folder)


@pytest.mark.parametrize("magic", ["01000803", "00000903", "00000804"])
def test_a_wrong_magic_number_is_refused(folder: Path, magic: str) -> None:
    path = folder / IMAGES
    path.write_bytes(bytes.fromhex(magic) + path.read_bytes()[4:])
    with pytest.raises(MnistctlError, match=f"not an IDX file .magic number {magic}"):
        dataset.load("test", folder)


def test_values_beyond_the_header_s_are_refused(folder: Path) -> None:
    with (folder / LABELS).open("ab") as file:
        file.write(b"\0")
    with pytest.raises(MnistctlError, match="has more values"):
        dataset.load("test", folder)


def test_a_header_that_claims_gigabytes_is_refused(folder: Path) -> None:
    (folder / IMAGES).write_bytes(bytes.fromhex("00000803ffffffffffffffffffffffff"))
    with pytest.raises(MnistctlError, match="too many"):
        dataset.load("test", folder)


@pytest.mark.parametrize("shape", ["00000000ffffffffffffffff", "000000050000000000000000"])
def test_a_header_of_no_values_is_refused(folder: Path, shape: str) -> None:
    (folder / IMAGES).write_bytes(bytes.fromhex("00000803" + shape))
    with pytest.raises(MnistctlError, match="holds nothing"):
        dataset.load("test", folder)


def test_labels_and_pictures_that_differ_in_number_are_refused(
    folder: Path, mnist_test: Digits
) -> None:
    (folder / LABELS).write_bytes(idx(mnist_test.labels[:19]))
    with pytest.raises(MnistctlError, match="19 labels for the 20 pictures"):
        dataset.load("test", folder)


def test_pictures_of_another_size_are_refused(folder: Path) -> None:
    (folder / IMAGES).write_bytes(idx(np.zeros((20, 32, 32), np.uint8)))
    with pytest.raises(MnistctlError, match="not 8-bit pictures of 28×28"):
        dataset.load("test", folder)


def test_labels_beyond_nine_are_refused(folder: Path) -> None:
    (folder / LABELS).write_bytes(idx(np.full(20, 10, np.uint8)))
    with pytest.raises(MnistctlError, match="labels from 10 to 10"):
        dataset.load("test", folder)


def test_an_empty_data_set_is_refused(tmp_path: Path) -> None:
    write_mnist(tmp_path, np.zeros((0, 28, 28), np.uint8), np.zeros(0, np.uint8))
    with pytest.raises(MnistctlError, match=r"holds nothing \(0 × 28 × 28\)"):
        dataset.load("test", tmp_path)
