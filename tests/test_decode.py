import io
import struct
import sys
import threading
import tracemalloc
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, features
from PIL.PngImagePlugin import PngImageFile
from support import error_allowed, inverted, run_program, saved, sheet

from mnistctl.classifier import Classifier
from mnistctl.dataset import Dataset, load_dataset
from mnistctl.errors import MnistctlError
from mnistctl.images import read_image
from mnistctl.images.decode import decode

SEVEN = load_dataset("test").images[0]


def dark_seven() -> Image.Image:
    return inverted(sheet(SEVEN))


def sixteen_bits(image: Image.Image) -> Image.Image:
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


def assert_seven(file: io.BytesIO, classifier: Classifier) -> None:
    assert classifier.predict(read_image(file)[np.newaxis])[0].digit == 7


@pytest.mark.parametrize(
    ("mode", "form"),
    [("1", "PNG"), ("L", "PNG"), ("LA", "PNG"), ("P", "PNG"), ("P", "GIF"), ("RGB", "PNG"),
     ("RGBA", "PNG"), ("I;16", "PNG"), ("CMYK", "JPEG"),
     ("L", "JPEG"), ("RGB", "BMP"), ("L", "PPM"), ("F", "PPM"), ("RGB", "WEBP"), ("RGB", "AVIF")],
)  # fmt: skip
def test_every_mode_and_format_is_read(mode: str, form: str, classifier: Classifier) -> None:
    if form == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow is built without AVIF")
    image = dark_seven()
    if mode == "I;16":
        image = sixteen_bits(image)
    elif mode == "F":
        image = Image.fromarray(np.asarray(image, np.float32) / 255)
    else:
        image = image.convert(mode)
    assert_seven(saved(image, form), classifier)


def test_16_bits_with_a_transparent_tone_are_read(classifier: Classifier) -> None:
    assert_seven(saved(sixteen_bits(dark_seven()), transparency=65535), classifier)


def test_transparency_lies_over_white() -> None:
    image = Image.new("LA", (3, 1))
    for x, pixel in enumerate([(0, 0), (0, 255), (100, 255)]):
        image.putpixel((x, 0), pixel)
    assert decode(saved(image)).tolist() == [[255, 0, 100]]


def test_a_transparent_tone_of_16_bits_lies_over_white() -> None:
    image = Image.fromarray(np.array([[0, 257, 65535]], np.uint16))
    assert decode(saved(image, transparency=0)).tolist() == [[255, 1, 255]]


@pytest.mark.parametrize(
    ("ink", "background"),
    [("blue", "black"), ("yellow", "white"), ("#c82828", "#326e32")],
    ids=["blue on black", "yellow on white", "red on green"],
)
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_ink_as_bright_as_its_background_is_seen_by_its_colour(
    ink: str, background: str, form: str, classifier: Classifier
) -> None:
    image = Image.new("RGB", (480, 360), background)
    image.paste(ink, mask=sheet(SEVEN))
    assert_seven(saved(image, form), classifier)


def test_white_ink_on_a_transparent_background_is_seen(classifier: Classifier) -> None:
    image = Image.new("RGBA", (480, 360), (255, 255, 255, 0))
    image.putalpha(sheet(SEVEN))
    assert_seven(saved(image), classifier)


def test_blank_canvas_with_transparent_corners_is_refused() -> None:
    image = Image.new("RGBA", (420, 340), (255, 255, 255, 0))
    ImageDraw.Draw(image).rounded_rectangle((0, 0, 419, 339), 40, fill="white")
    with pytest.raises(MnistctlError, match="is blank"):
        read_image(saved(image))


def test_noise_of_a_channel_is_no_ink() -> None:
    noise = np.random.default_rng(0).normal(128, 5, (64, 64, 3)).astype(np.uint8)
    assert np.ptp(noise[..., 0]) >= 32 > np.ptp(decode(saved(Image.fromarray(noise))))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotation_of_a_camera_is_undone(orientation: int, classifier: Classifier) -> None:
    undo = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}.get(orientation, [])
    image = dark_seven()
    for operation in undo:
        image = image.transpose(Image.Transpose(operation))
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert_seven(saved(image, "JPEG", exif=exif), classifier)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "JPEG"])
def test_damaged_exif_data_is_ignored(form: str, classifier: Classifier) -> None:
    assert_seven(saved(dark_seven(), form, exif=b"Exif\0\0garbage!"), classifier)


def test_first_frame_of_an_animation_is_read(mnist_test: Dataset, classifier: Classifier) -> None:
    frames = [inverted(sheet(digit)) for digit in mnist_test.images[:3]]
    file = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert_seven(file, classifier)


@settings(max_examples=30)
@given(
    st.integers(1, 3000), st.integers(1, 3000), st.sampled_from(["L", "RGB", "P", "1"]),
    st.sampled_from(["PNG", "JPEG"]),
)  # fmt: skip
def test_no_side_is_longer_than_192(width: int, height: int, mode: str, form: str) -> None:
    image = Image.new(mode if form == "PNG" else "L", (width, height), 1)
    grey = decode(saved(image, form))
    assert grey.dtype == np.uint8
    assert max(grey.shape) <= 192
    assert min(grey.shape) >= 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "is empty"),
        (b"seven", r"is not an image that mnistctl reads \(PNG, JPEG, "),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "is not an image"),
        (saved(Image.new("L", (99, 99), 9)).getvalue()[:60], r"cannot be decoded \("),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "is (damaged|not an image)"),
    ],
    ids=["empty", "text", "PostScript", "truncated", "signature alone"],
)
def test_file_that_is_not_an_image_is_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "seven.png"
    path.write_bytes(content)
    with pytest.raises(MnistctlError, match=rf"seven\.png: {reason}"):
        read_image(path)
    with pytest.raises(MnistctlError, match=rf"^image data: {reason}"):
        read_image(io.BytesIO(content))


@given(st.data(), st.binary(min_size=1, max_size=8), st.sampled_from(["PNG", "JPEG", "GIF"]))
def test_damaged_image_is_read_or_refused(data: st.DataObject, damage: bytes, form: str) -> None:
    content = saved(sheet(SEVEN, scale=1, size=(60, 60)), form).getvalue()
    start = data.draw(st.integers(0, len(content)))
    damaged = content[:start] + damage + content[start + len(damage) :]
    with error_allowed():
        assert read_image(io.BytesIO(damaged)).shape == (28, 28)


def test_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "long.png").open("wb") as file:
        file.truncate(20_000_000_000)
    with pytest.raises(MnistctlError, match=r"long\.png: is larger than 16 MB: scale it down"):
        read_image(tmp_path / "long.png")


def test_pipe_that_never_ends_is_refused() -> None:
    with Path("/dev/zero").open("rb") as file, pytest.raises(MnistctlError, match="larger than 16"):
        read_image(file)


class Trickle(io.BytesIO):
    """A file that gives less than it is asked for, as a pipe without a buffer does."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(100, size or 0))


def test_file_that_gives_less_than_it_is_asked_for_is_read_to_its_end() -> None:
    content = saved(dark_seven()).getvalue()
    np.testing.assert_array_equal(decode(Trickle(content)), decode(io.BytesIO(content)))


def test_small_image_is_read_in_little_memory(digit_png: Path) -> None:
    read_image(digit_png)  # imports
    tracemalloc.start()
    try:
        read_image(digit_png)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 500_000


def test_large_photograph_is_read(classifier: Classifier) -> None:
    image = inverted(sheet(SEVEN, scale=120, size=(8000, 6000)))
    assert_seven(saved(image, "JPEG"), classifier)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MnistctlError, match=r"nowhere\.png: cannot be read: No such file"):
        read_image(tmp_path / "nowhere.png")


def test_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MnistctlError, match=f"^{tmp_path}: cannot be read: Is a directory$"):
        read_image(tmp_path)


def test_name_of_a_file_is_displayed_on_one_line() -> None:
    with pytest.raises(MnistctlError, match=r"^a\\n\\x1b\.png: cannot be read: "):
        read_image("a\n\x1b.png")


@pytest.mark.parametrize("size", [(32_769, 2), (2, 32_769), (5000, 5000)])
def test_image_above_the_limits_is_refused(size: tuple[int, int]) -> None:
    sentence = (
        rf"^image data: is too large \({size[0]}x{size[1]} pixels; the limit is 16 million, "
        r"and 32,768 for a side\): scale it down$"
    )
    with pytest.raises(MnistctlError, match=sentence):
        read_image(saved(Image.new("L", size)))


@pytest.mark.parametrize("size", [(32_768, 2), (2, 32_768), (4000, 4000)])
def test_image_at_the_limits_is_decoded(size: tuple[int, int]) -> None:
    assert not decode(saved(Image.new("L", size))).any()


@pytest.mark.parametrize("scans", [1, 3])
def test_jpeg_file_that_is_decoded_as_it_is_read_may_be_larger(scans: int) -> None:
    jpeg = saved(Image.new("RGB", (5000, 5000), "white"), "JPEG").getvalue()
    if scans == 3:  # the first scan is then of one component
        start = jpeg.index(b"\xff\xda\x00\x0c\x03")
        jpeg = jpeg[:start] + b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" + jpeg[start + 14 :]
    with pytest.raises(MnistctlError) as refused:
        read_image(io.BytesIO(jpeg))
    assert ("is too large (5000x5000 pixels" in str(refused.value)) == (scans == 3)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_such_a_jpeg_file_has_a_hundred_million_pixels_at_most() -> None:
    jpeg = bytearray(saved(Image.new("L", (10_000, 16)), "JPEG").getvalue())
    rows = slice(start := jpeg.index(b"\xff\xc0") + 5, start + 2)
    jpeg[rows] = struct.pack(">H", 10_000)  # more than the file has
    assert decode(io.BytesIO(jpeg)).shape == (192, 192)
    jpeg[rows] = struct.pack(">H", 10_001)
    with pytest.raises(MnistctlError, match=r"\(10000x10001 pixels; the limit is 100 million"):
        decode(io.BytesIO(jpeg))


def test_a_file_of_several_jpeg_images_has_the_limit_of_its_first() -> None:
    image = Image.new("L", (5000, 5000), 255)
    file = saved(image, "MPO", save_all=True, append_images=[image])
    assert (decode(file) == 255).all()


@pytest.mark.parametrize(("height", "is_alone"), [(2000, False), (2001, True)])
def test_images_above_two_million_pixels_are_decoded_one_at_a_time(
    height: int, is_alone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = threading.Lock()
    held: list[bool] = []
    load = PngImageFile.load

    def watched(image: PngImageFile) -> Any:
        held.append(lock.locked())
        return load(image)

    monkeypatch.setattr(sys.modules[decode.__module__], "_large_image_lock", lock)
    monkeypatch.setattr(PngImageFile, "load", watched)
    decode(saved(Image.new("L", (1000, height))))
    assert held[0] == is_alone


def test_progressive_jpeg_file_has_the_lower_limit() -> None:
    jpeg = saved(Image.new("L", (5000, 5000)), "JPEG", progressive=True)
    with pytest.raises(MnistctlError, match=r"is too large \(5000x5000 pixels; the limit is 16"):
        read_image(jpeg)


def bomb(form: str) -> bytes:
    """Return a small file of an image with more than a hundred million pixels."""
    side = 16_000
    if form == "WEBP":  # of one colour, it differs from a small image in the size alone
        webp = saved(Image.new("L", (16, 16)), form, lossless=True, quality=0, method=0).getvalue()
        flags = int.from_bytes(webp[21:25], "little") >> 28
        size = flags << 28 | (side - 1) << 14 | (side - 1)
        return webp[:21] + size.to_bytes(4, "little") + webp[25:]
    if form != "PNG":
        return saved(Image.new("P" if form == "GIF" else "L", (side, side)), form).getvalue()
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
def test_decompression_bomb_is_refused_in_little_memory(form: str, tmp_path: Path) -> None:
    (tmp_path / "bomb").write_bytes(bomb(form))
    program = """
import pathlib
from mnistctl.images import read_image
from mnistctl.errors import MnistctlError
try:
    read_image("bomb")
except MnistctlError as error:
    print(error)
status = pathlib.Path("/proc/self/status").read_text()
print(status.split("VmHWM:")[1].split()[0])
"""
    result = run_program(program, tmp_path)
    assert result.stderr == ""
    message, kilobytes = result.stdout.splitlines()
    assert message.startswith("bomb: is too large")
    assert int(kilobytes) < 300_000


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc/self/mem")
def test_file_that_cannot_be_read_is_an_error() -> None:
    refused = pytest.raises(MnistctlError, match=r"^/proc/self/mem: cannot be read: Input/output")
    with Path("/proc/self/mem").open("rb") as file, refused:  # its first page is not mapped
        read_image(file)


class Hungry(io.BytesIO):
    """A file for which there is not enough memory."""

    def read(self, size: int | None = -1, /) -> bytes:
        raise MemoryError(size)


def test_image_without_enough_memory_is_an_error_of_that_image() -> None:
    with pytest.raises(MnistctlError, match="needs more memory than there is"):
        decode(Hungry())


@pytest.mark.parametrize("axis", [0, 1], ids=["rows", "columns"])
def test_padding_of_a_reduced_jpeg_file_is_no_line_at_the_edge(axis: int) -> None:
    tones = np.full((2048, 2048), 250, np.uint8)
    if axis == 0:
        tones[2041:] = 0
    else:
        tones[:, 2041:] = 0
    jpeg = bytearray(saved(Image.fromarray(tones), "JPEG").getvalue())
    # The file says that it ends before the black pixels: they are padding of its last blocks.
    start = jpeg.index(b"\xff\xc0") + 5 + 2 * axis
    jpeg[start : start + 2] = struct.pack(">H", 2041)
    assert decode(io.BytesIO(jpeg)).min() > 200
