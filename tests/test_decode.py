import io
import struct
import subprocess
import sys
import zlib
from contextlib import AbstractContextManager, suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from mnistctl import dataset, images
from mnistctl.classifier import Classifier
from mnistctl.dataset import Digits
from mnistctl.errors import MnistctlError

RNG = np.random.default_rng(0)
DIGITS = dataset.load("test").images[:200]


@pytest.fixture(scope="module")
def classifier() -> Classifier:
    return Classifier.load()


def saved(picture: Image.Image, form: str = "PNG", **options: object) -> io.BytesIO:
    file = io.BytesIO()
    picture.save(file, form, **options)
    file.seek(0)
    return file


def refusal_allowed() -> AbstractContextManager[None]:
    """Let a picture be refused in words, but fail in no other way."""
    return suppress(MnistctlError)


def sheet(digit: np.ndarray, scale: int = 8, size: tuple[int, int] = (480, 360)) -> Image.Image:
    """A digit of MNIST, enlarged, light on a large dark sheet, off its middle."""
    picture = Image.new("L", size, 0)
    side = 28 * scale
    picture.paste(Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC), (20, 30))
    return picture


def dark_on_light(picture: Image.Image) -> Image.Image:
    return Image.fromarray(255 - np.asarray(picture))


def photographed(digit: np.ndarray) -> Image.Image:
    """Dark ink on paper half in shadow, with a camera's noise."""
    ink = np.asarray(sheet(digit), np.float64) / 255
    light = 230 - 90 / (1 + np.exp(-(np.arange(ink.shape[1]) - 200) / 15))
    tones = light * (1 - 0.75 * ink) + RNG.normal(0, 4, ink.shape)
    return Image.fromarray(tones.clip(0, 255).astype(np.uint8)).convert("RGB")


def drawn_on_glass(digit: np.ndarray) -> Image.Image:
    """Black ink on a transparent background."""
    ink = sheet(digit)
    picture = Image.new("RGBA", ink.size, (0, 0, 0, 0))
    picture.putalpha(ink)
    return picture


def test_every_digit_of_mnist_passes_unchanged(mnist_test: Digits) -> None:
    for digit in mnist_test.images:
        np.testing.assert_array_equal(images.normalise(digit), digit / np.float32(255))


def test_a_digit_of_mnist_in_dark_on_light_becomes_the_digit(mnist_test: Digits) -> None:
    digit = mnist_test.images[0]
    np.testing.assert_array_equal(images.normalise(255 - digit), digit / np.float32(255))


@pytest.mark.parametrize(
    "drawn",
    [sheet, lambda digit: dark_on_light(sheet(digit)), photographed, drawn_on_glass],
    ids=["light on dark", "dark on light", "a photograph", "transparent"],
)
def test_digits_on_a_sheet_are_still_told(
    drawn: object, mnist_test: Digits, classifier: Classifier
) -> None:
    read = [images.read(saved(drawn(digit)), "picture") for digit in mnist_test.images[:200]]
    predicted = [prediction.digit for prediction in classifier.predict(np.stack(read))]
    assert np.mean(predicted == mnist_test.labels[:200]) >= 0.97


@given(
    hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=60)),
)
def test_any_greyscale_picture_becomes_a_digit_or_is_blank(grey: np.ndarray) -> None:
    with refusal_allowed():
        digit = images.normalise(grey)
        assert digit.shape == (28, 28)
        assert digit.dtype == np.float32
        assert digit.min() >= 0
        assert digit.max() <= 1


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 199))
def test_where_the_digit_lies_on_the_sheet_makes_no_difference(
    left: int, top: int, index: int
) -> None:
    digit = DIGITS[index]
    here, there = np.zeros((250, 250), np.uint8), np.zeros((250, 250), np.uint8)
    here[60:88, 60:88] = digit
    there[top + 20 : top + 48, left + 20 : left + 48] = digit
    np.testing.assert_allclose(images.normalise(here), images.normalise(there), atol=0.15)


@pytest.mark.parametrize(
    ("mode", "form"),
    [("1", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("P", "GIF"), ("RGB", "PNG"),
     ("RGBA", "PNG"), ("I;16", "PNG"), ("CMYK", "JPEG"),
     ("L", "JPEG"), ("RGB", "BMP"), ("L", "PPM"), ("F", "PPM"), ("RGB", "WEBP"), ("RGB", "AVIF")],
)  # fmt: skip
def test_every_mode_and_format_gives_the_digit(
    mode: str, form: str, mnist_test: Digits, classifier: Classifier
) -> None:
    picture = dark_on_light(sheet(mnist_test.images[0]))
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    elif mode == "F":
        picture = Image.fromarray(np.asarray(picture, np.float32) / 255)
    else:
        picture = picture.convert(mode)
    digit = images.read(saved(picture, form), "picture")
    assert classifier.predict(digit[np.newaxis])[0].digit == 7


def test_16_bits_with_a_transparent_tone_give_the_digit(
    mnist_test: Digits, classifier: Classifier
) -> None:
    picture = dark_on_light(sheet(mnist_test.images[0]))
    picture = Image.fromarray(np.asarray(picture).astype(np.uint16) * 257)
    digit = images.read(saved(picture, "PNG", transparency=65535), "picture")
    assert classifier.predict(digit[np.newaxis])[0].digit == 7


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_s_rotation_is_undone(
    orientation: int, mnist_test: Digits, classifier: Classifier
) -> None:
    undo = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}.get(orientation, [])
    picture = dark_on_light(sheet(mnist_test.images[0]))
    for operation in undo:
        picture = picture.transpose(Image.Transpose(operation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    digit = images.read(saved(picture, "JPEG", exif=exif), "picture")
    assert classifier.predict(digit[np.newaxis])[0].digit == 7


def test_the_first_frame_of_an_animation_counts(mnist_test: Digits, classifier: Classifier) -> None:
    frames = [dark_on_light(sheet(digit)) for digit in mnist_test.images[:3]]
    file = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert classifier.predict(images.read(file, "picture")[np.newaxis])[0].digit == 7


@pytest.mark.parametrize("size", [(20_000, 3), (3, 20_000)])
def test_a_sliver_is_told_from_a_picture_with_a_digit(size: tuple[int, int]) -> None:
    picture = Image.new("L", size, 255)
    picture.paste(0, (size[0] // 2, size[1] // 2, size[0] // 2 + 1, size[1] // 2 + 1))
    with pytest.raises(MnistctlError, match="is blank"):
        images.read(saved(picture), "picture")


@pytest.mark.parametrize(
    "picture",
    [Image.new("L", (1, 1), 0), Image.new("L", (28, 28), 0), Image.new("RGB", (300, 200), "white"),
     Image.fromarray(RNG.integers(200, 210, (300, 200)).astype(np.uint8)),
     Image.fromarray(np.tile(np.linspace(90, 230, 300), (200, 1)).astype(np.uint8))],
    ids=["1×1", "black", "white", "noise", "paper in fading light"],
)  # fmt: skip
def test_a_blank_picture_is_refused(picture: Image.Image) -> None:
    with pytest.raises(MnistctlError, match=r"^picture: is blank"):
        images.read(saved(picture), "picture")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b"seven", "is not a picture that mnistctl reads"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not a picture"),
        (saved(Image.new("L", (99, 99), 9)).getvalue()[:60], "is damaged"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "is (damaged|not a picture)"),
    ],
    ids=["empty", "text", "PostScript", "truncated", "a signature alone"],
)
@pytest.mark.parametrize("through", ["a file", "a pipe"])
def test_what_is_no_picture_is_refused(
    content: bytes, why: str, through: str, tmp_path: Path
) -> None:
    path = tmp_path / "seven.png"
    path.write_bytes(content)
    with pytest.raises(MnistctlError, match=f"^name: {why}"):
        images.read(path if through == "a file" else io.BytesIO(content), "name")


@given(st.data(), st.binary(min_size=1, max_size=8))
def test_a_damaged_picture_is_answered_or_refused(data: st.DataObject, damage: bytes) -> None:
    content = saved(sheet(DIGITS[0], scale=1, size=(60, 60))).getvalue()
    at = data.draw(st.integers(0, len(content)))
    damaged = content[:at] + damage + content[at + len(damage) :]
    with refusal_allowed():
        assert images.read(io.BytesIO(damaged), "picture").shape == (28, 28)


def test_a_file_too_long_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "long.png").open("wb") as file:
        file.truncate(20_000_000_000)
    with pytest.raises(MnistctlError, match=r"long\.png: is longer than 16 MB"):
        images.read(tmp_path / "long.png", "long.png")


def test_a_large_photograph_is_read(classifier: Classifier) -> None:
    picture = dark_on_light(sheet(DIGITS[0], scale=120, size=(8000, 6000)))
    digit = images.read(saved(picture, "JPEG"), "picture")
    assert classifier.predict(digit[np.newaxis])[0].digit == 7


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MnistctlError, match="cannot be read: No such file"):
        images.read(tmp_path / "nowhere.png", "nowhere.png")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MnistctlError, match="cannot be read: Is a directory"):
        images.read(tmp_path, "folder")


def bomb(form: str) -> bytes:
    """A small file of a picture of more than a hundred million pixels."""
    side = 16_000
    if form != "PNG":
        return saved(Image.new("L", (side, side)), form).getvalue()
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(b"\0" * (side + 1)) for _ in range(side)) + rows.flush()
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)),
        (b"IDAT", data),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
@pytest.mark.parametrize("form", ["PNG", "JPEG", "GIF", "WEBP"])
def test_a_decompression_bomb_is_refused_in_little_memory(form: str, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(bomb(form))
    program = """
import pathlib
from mnistctl import images
from mnistctl.errors import MnistctlError
try:
    images.read(pathlib.Path("bomb"), "bomb")
except MnistctlError as error:
    print(error)
status = pathlib.Path("/proc/self/status").read_text()
print(status.split("VmHWM:")[1].split()[0])
"""
    result = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    message, kilobytes = result.stdout.splitlines()
    assert "is too large (16000×16000 pixels" in message
    assert int(kilobytes) < 300_000


@pytest.mark.parametrize("scans", [1, 3])
def test_a_jpeg_file_that_is_decoded_as_it_is_read_may_be_larger(scans: int) -> None:
    jpeg = saved(Image.new("RGB", (5000, 5000), "white"), "JPEG").getvalue()
    if scans == 3:  # the first scan is then of one component
        start = jpeg.index(b"\xff\xda\x00\x0c\x03")
        jpeg = jpeg[:start] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + jpeg[start + 14 :]
    with pytest.raises(MnistctlError) as refused:
        images.read(io.BytesIO(jpeg), "picture")
    assert ("is too large (5000×5000 pixels" in str(refused.value)) == (scans == 3)
