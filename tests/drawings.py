"""Drawn images: a digit of MNIST as people write, scan and photograph it, and things around it."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

Grey = NDArray[np.uint8]
Draw = Callable[[ImageDraw.ImageDraw], None]
WIDTH, HEIGHT = 420, 340
PAPER = 215


def ink(digit: Grey, scale: int = 8) -> NDArray[np.float64]:
    """Return a digit, 0 to 1, in the middle of a sheet."""
    image = Image.new("L", (WIDTH, HEIGHT), 0)
    side = 28 * scale
    enlarged = Image.fromarray(digit).resize((side, side), Image.Resampling.BICUBIC)
    image.paste(enlarged, ((WIDTH - side) // 2, (HEIGHT - side) // 2))
    return np.asarray(image) / 255


def drawn(draw: Draw, blur: float = 0) -> NDArray[np.float64]:
    """Return what a function draws on a sheet, 0 to 1."""
    image = Image.new("L", (WIDTH, HEIGHT), 0)
    draw(ImageDraw.Draw(image))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(blur))) / 255


def on_paper(*layers: NDArray[np.float64]) -> Image.Image:
    """Return light paper with layers, each 0 to 1 times how dark it is; the darkest counts."""
    return tones(PAPER * (1 - np.maximum.reduce(layers)))


def tones(values: NDArray[np.float64], noise_level: float = 2) -> Image.Image:
    """Return a greyscale image with a camera's noise."""
    noise = np.random.default_rng(0).normal(0, noise_level, values.shape)
    return Image.fromarray((values + noise).clip(0, 255).astype(np.uint8))


def frame(inset: int, width: int, angle: float = 0) -> NDArray[np.float64]:
    """Return a drawn rectangle."""

    def draw(pen: ImageDraw.ImageDraw) -> None:
        pen.rectangle(
            (inset, inset, WIDTH - inset - 1, HEIGHT - inset - 1), outline=255, width=width
        )

    image = Image.fromarray((drawn(draw) * 255).astype(np.uint8)).rotate(angle)
    return np.asarray(image) / 255


def rules(distance: int, *, columns: bool = False) -> NDArray[np.float64]:
    """Return the lines of ruled paper, or of squared paper."""

    def draw(pen: ImageDraw.ImageDraw) -> None:
        for y in range(distance // 2, HEIGHT, distance):
            pen.line((0, y, WIDTH, y + 4), fill=255, width=2)
        for x in range(distance // 2, WIDTH, distance) if columns else ():
            pen.line((x, 0, x - 4, HEIGHT), fill=255, width=2)

    return drawn(draw)


def dots(places: list[tuple[int, int]], radius: int) -> NDArray[np.float64]:
    """Return round dots."""

    def draw(pen: ImageDraw.ImageDraw) -> None:
        for x, y in places:
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)

    return drawn(draw)


def _strip(pen: ImageDraw.ImageDraw) -> None:
    pen.polygon([(0, HEIGHT), (0, HEIGHT - 25), (WIDTH, HEIGHT - 45), (WIDTH, HEIGHT)], fill=255)


def _corner(pen: ImageDraw.ImageDraw) -> None:
    pen.polygon([(WIDTH, HEIGHT), (WIDTH - 90, HEIGHT), (WIDTH, HEIGHT - 90)], fill=255)


def _text(pen: ImageDraw.ImageDraw) -> None:
    pen.text((20, 8), "Write a digit in the middle of the page", 255, ImageFont.load_default(20))


def _scribble(pen: ImageDraw.ImageDraw) -> None:
    points = [(150 + 8 * i, 290 + 14 * (i % 2)) for i in range(16)]
    pen.line(points, fill=255, width=4)


def _two_edges(pen: ImageDraw.ImageDraw) -> None:
    pen.rectangle((0, 0, 30, HEIGHT), fill=255)
    pen.rectangle((0, HEIGHT - 20, WIDTH, HEIGHT), fill=255)


def _card(pen: ImageDraw.ImageDraw) -> None:
    pen.polygon([(30, 35), (385, 25), (395, 310), (35, 320)], fill=255)


def _on_table(
    digit: Grey, place: tuple[int, int], *, darkness: float = 0.75, table: int = 60
) -> Image.Image:
    """Return a sheet that lies on a dark table at an angle, with its corner at a place."""
    sheet = on_paper(darkness * ink(digit, 5)).crop((115, 75, 310, 265))
    turned = sheet.rotate(12, Image.Resampling.BILINEAR, expand=True, fillcolor=table)
    image = tones(np.full((HEIGHT, WIDTH), table))
    image.paste(turned, place)
    return image


def _large_pencil_sheet(digit: Grey) -> Image.Image:
    """Return pencil on a sheet at an angle, and a dark table at the right and below."""
    sheet = on_paper(0.3 * ink(digit, 5))
    turned = sheet.rotate(8, Image.Resampling.BILINEAR, expand=True, fillcolor=60)
    image = tones(np.full((HEIGHT, WIDTH), 60))
    image.paste(turned, (-110, -90))
    return image


def _at_an_angle(digit: Grey) -> Image.Image:
    """Return a sheet on a dark table, photographed from below."""
    corners = [(95, 40), (325, 40), (400, 310), (20, 310)]
    sheet = drawn(lambda pen: pen.polygon(corners, fill=255))
    return tones(np.where(sheet > 0, PAPER * (1 - 0.7 * ink(digit, 6)), 60))


def _card_on_page(digit: Grey) -> Image.Image:
    """Return a black canvas with round corners on a light page."""
    image = Image.new("L", (WIDTH, HEIGHT), 240)
    ImageDraw.Draw(image).rounded_rectangle((110, 70, 310, 270), 15, fill=0)
    image.paste(255, mask=Image.fromarray((ink(digit, 5) * 255).astype(np.uint8)))
    return image


def _above_table(digit: Grey) -> Image.Image:
    """Return pencil on a sheet, and a dark rough table along the sheet's lower edge."""
    values = PAPER * (1 - 0.35 * ink(digit, 5))
    values[-90:] = np.random.default_rng(5).normal(45, 15, (90, WIDTH))
    return tones(values)


def _flash() -> NDArray[np.float64]:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return np.asarray(60 + 180 * np.exp(-((x - 110) ** 2 + (y - 90) ** 2) / (2 * 150**2)))


def _shadow(
    *, level: float, angle: float, offset: float, width: float = np.inf
) -> NDArray[np.float64]:
    """Return paper in a band of hard shadow, with an edge at an angle and offset to the middle."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    turn = np.radians(angle)
    distance = (x - WIDTH / 2) * np.cos(turn) + (y - HEIGHT / 2) * np.sin(turn) - offset
    is_dark = (distance < 0) & (distance > -width)
    image = Image.fromarray(np.where(is_dark, level * PAPER, PAPER).astype(np.uint8))
    return np.asarray(image.filter(ImageFilter.GaussianBlur(1.5)), np.float64)


def _wood() -> NDArray[np.float64]:
    grain = np.random.default_rng(3).normal(0, 1, HEIGHT).cumsum()
    rows = 150 + 50 * np.sin(25 * (grain - grain.min()) / np.ptp(grain))
    return np.repeat(rows[:, np.newaxis], WIDTH, axis=1)


def _vignette() -> NDArray[np.float64]:
    y, x = np.mgrid[-1 : 1 : HEIGHT * 1j, -1 : 1 : WIDTH * 1j]
    return np.asarray(1 - 0.35 * (x**2 + y**2))


def _blue(digit: Grey) -> Image.Image:
    paper = np.full((HEIGHT, WIDTH, 3), 235.0)
    values = paper * (1 - ink(digit)[..., np.newaxis] * [0.8, 0.7, 0.3])
    return Image.fromarray(values.astype(np.uint8))


def _transparent(digit: Grey) -> Image.Image:
    image = Image.new("RGBA", (WIDTH, HEIGHT), (0, 0, 0, 0))
    image.putalpha(Image.fromarray((ink(digit) * 255).astype(np.uint8)))
    return image


def _marker(digit: Grey) -> Image.Image:
    image = Image.fromarray((ink(digit, 9) * 255).astype(np.uint8))
    return on_paper(0.9 * np.asarray(image.filter(ImageFilter.MaxFilter(15))) / 255)


def _cropped(digit: Grey) -> Image.Image:
    image = on_paper(0.8 * ink(digit, 12))
    return image.crop(Image.fromarray(ink(digit, 12) > 0.5).getbbox())


def _framed(digit: Grey, margin: int, below: int) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """Return a digit in a frame, and the box of the frame.

    The frame has a margin around the digit, except below it.
    """
    image = on_paper(0.8 * ink(digit))
    left, top, right, bottom = Image.fromarray(ink(digit) > 0.5).getbbox() or (0, 0, 0, 0)
    box = (left - margin, top - margin, right + margin, bottom + below)
    ImageDraw.Draw(image).rectangle(box, outline=45, width=8)
    return image, box


def _close_frame(digit: Grey) -> Image.Image:
    return _framed(digit, 18, 17)[0]


def _touched_frame(digit: Grey) -> Image.Image:
    return _framed(digit, 30, 3)[0]


def _touched_cell(digit: Grey) -> Image.Image:
    image, box = _framed(digit, 30, 3)
    return image.crop(box)


def _touched_edges(
    digit: Grey, *, width: int = 8, rise: int = 0, is_corner: bool = False
) -> Image.Image:
    """Return a digit that touches a line along the bottom, and in a corner one along the left."""
    image = on_paper(0.8 * ink(digit))
    left, _, _, bottom = Image.fromarray(ink(digit) > 0.5).getbbox() or (0, 0, 0, 0)
    y = bottom - 3 + width // 2
    pen = ImageDraw.Draw(image)
    pen.line((0, y + rise, WIDTH, y - rise), fill=45, width=width)
    if is_corner:
        pen.rectangle((0, 0, left + 2, HEIGHT), fill=45)
    return image.crop((left - 5 if is_corner else 0, 0, WIDTH, y + width // 2))


def _with_blot(image: Image.Image) -> Image.Image:
    """Return an image with a blot in its upper left corner."""
    ImageDraw.Draw(image).ellipse((12, 22, 28, 38), fill=45)
    return image


def _slope(pen: ImageDraw.ImageDraw) -> None:
    pen.polygon([(0, HEIGHT), (0, HEIGHT - 80), (WIDTH, HEIGHT - 110), (WIDTH, HEIGHT)], fill=255)


def _circle(pen: ImageDraw.ImageDraw) -> None:
    pen.ellipse((112, 65, 308, 275), outline=255, width=6)


def _line_across(pen: ImageDraw.ImageDraw) -> None:
    pen.line((0, 195, WIDTH, 185), fill=255, width=6)


def _dashed_lines(pen: ImageDraw.ImageDraw) -> None:
    for y in range(30, HEIGHT, 60):
        for x in range(0, WIDTH, 20):
            pen.line((x, y, x + 10, y), fill=255, width=3)


def _pen(pen: ImageDraw.ImageDraw) -> None:
    pen.line((365, 20, 362, 320), fill=255, width=10)


def _underlines(pen: ImageDraw.ImageDraw) -> None:
    pen.line((140, 248, 280, 244), fill=255, width=5)
    pen.line((140, 266, 280, 262), fill=255, width=5)


def _line_down(pen: ImageDraw.ImageDraw) -> None:
    pen.line((240, 0, 250, HEIGHT), fill=255, width=6)


def _screenshot(digit: Grey) -> Image.Image:
    """Return a paint program with white bars around its black canvas."""
    canvas = tones(10 + 230 * ink(digit))
    image = Image.new("L", (WIDTH + 160, HEIGHT + 150), 255)
    image.paste(canvas, (60, 100))
    return image


def pen_line(width: int, *, size: int = 280) -> Image.Image:
    """Return a two as a paint program draws it: black on white, with hard edges."""
    image = Image.new("L", (size, size), 255)
    points = [(70, 90), (90, 60), (150, 50), (190, 90), (170, 140), (60, 230), (210, 230)]
    scaled = [(x * size / 280, y * size / 280) for x, y in points]
    ImageDraw.Draw(image).line(scaled, fill=0, width=width, joint="curve")
    return image


_GRID = [(x, y) for x in range(20, WIDTH, 40) for y in range(15, HEIGHT, 40)]

# What a person would read rightly, by what makes it hard.
READABLE: dict[str, Callable[[Grey], Image.Image]] = {
    "frame at the edge": lambda d: on_paper(0.8 * ink(d), 0.8 * frame(0, 9)),
    "white frame at the edge": lambda d: tones(30 + 200 * np.maximum(ink(d), frame(0, 9))),
    "frame around the digit": lambda d: on_paper(0.8 * ink(d, 7), 0.8 * frame(30, 4)),
    "frame close to the digit": _close_frame,
    "frame that the digit touches": _touched_frame,
    "cell with its lines, which the digit touches": _touched_cell,
    "circle around the digit": lambda d: on_paper(0.8 * ink(d, 6), 0.8 * drawn(_circle)),
    "edge line that the digit touches": _touched_edges,
    "crooked edge line that the digit touches": lambda d: _touched_edges(d, width=14, rise=5),
    "table that the digit touches": lambda d: _touched_edges(d, width=45),
    "edge line that the digit touches, and a blot": lambda d: _with_blot(_touched_edges(d)),
    "two edge lines that the digit touches": lambda d: _touched_edges(d, is_corner=True),
    "crooked frame": lambda d: on_paper(0.8 * ink(d, 7), 0.8 * frame(25, 4, 3)),
    "shadow along an edge": lambda d: on_paper(0.7 * ink(d, 7), 0.5 * drawn(_strip, 2)),
    "table along an edge": lambda d: on_paper(0.7 * ink(d, 7), 0.9 * drawn(_strip)),
    "table along two edges": lambda d: on_paper(0.7 * ink(d, 7), 0.8 * drawn(_two_edges)),
    "turned scan with black corners": lambda d: on_paper(0.8 * ink(d, 7)).rotate(9),
    "dark corner": lambda d: on_paper(0.7 * ink(d, 7), 0.6 * drawn(_corner, 3)),
    "card on a dark table": lambda d: tones(
        (40 + 180 * drawn(_card)) * (1 - 0.75 * ink(d, 6)),
    ),
    "sheet at an angle on a dark table": lambda d: _on_table(d, (80, 45)),
    "sheet at an angle, partly outside": lambda d: _on_table(d, (-20, -20)),
    "pencil on a turned sheet on a dark table": lambda d: _on_table(d, (80, 45), darkness=0.3),
    "pencil on a sheet, partly outside": _large_pencil_sheet,
    "pencil above a dark rough table": _above_table,
    "pencil above a table at an angle": lambda d: on_paper(0.35 * ink(d, 5), 0.7 * drawn(_slope)),
    "sheet on a table that is lighter than the ink": lambda d: _on_table(d, (80, 45), table=130),
    "sheet photographed at an angle": _at_an_angle,
    "narrow sheet on a dark table": lambda d: tones(
        np.where(np.abs(np.arange(WIDTH) - WIDTH / 2) < 40, PAPER, 60) * (1 - 0.8 * ink(d, 3))
    ),
    "black canvas on a light page": _card_on_page,
    "vignette": lambda d: tones(PAPER * _vignette() * (1 - 0.7 * ink(d))),
    "deep shadow across": lambda d: tones(
        _shadow(level=0.3, angle=0, offset=0) * (1 - 0.75 * ink(d))
    ),
    "hard shadow over all but a strip": lambda d: tones(
        _shadow(level=0.5, angle=0, offset=120) * (1 - 0.75 * ink(d))
    ),
    "wide band of shadow at an angle": lambda d: tones(
        _shadow(level=0.5, angle=60, offset=90, width=180) * (1 - 0.75 * ink(d))
    ),
    "narrow band of shadow at an angle": lambda d: tones(
        _shadow(level=0.5, angle=60, offset=20, width=40) * (1 - 0.75 * ink(d))
    ),
    "line of text above": lambda d: on_paper(0.8 * ink(d, 6), 0.8 * drawn(_text)),
    "pen beside the digit": lambda d: on_paper(0.8 * ink(d, 7), 0.8 * drawn(_pen)),
    "scribble below": lambda d: on_paper(0.8 * ink(d, 5), 0.8 * drawn(_scribble)),
    "strong noise": lambda d: tones(170 * (1 - 0.75 * ink(d)), noise_level=50),
    "dithered": lambda d: on_paper(0.6 * ink(d)).convert("1"),
    "wood": lambda d: tones(_wood() * (1 - 0.8 * ink(d))),
    "flash": lambda d: tones(_flash() * (1 - 0.7 * ink(d))),
    "ruled paper": lambda d: on_paper(0.8 * ink(d), 0.4 * rules(60)),
    "darkly ruled paper": lambda d: on_paper(0.8 * ink(d), 0.48 * rules(60)),
    "squared paper": lambda d: on_paper(0.8 * ink(d), 0.3 * rules(40, columns=True)),
    "line as dark as the digit": lambda d: on_paper(0.8 * ink(d), 0.8 * drawn(_line_across)),
    "upright line as dark as the digit": lambda d: on_paper(0.8 * ink(d), 0.8 * drawn(_line_down)),
    "line as dark as the digit, and a speck": lambda d: on_paper(
        0.8 * ink(d), 0.8 * drawn(_line_across), 0.8 * dots([(12, 20)], 4)
    ),
    "lines as dark as the digit": lambda d: on_paper(0.8 * ink(d), 0.8 * rules(60)),
    "squares as dark as the digit": lambda d: on_paper(0.8 * ink(d), 0.8 * rules(60, columns=True)),
    "underlined twice": lambda d: on_paper(0.8 * ink(d, 5), 0.8 * drawn(_underlines)),
    "dashed lines": lambda d: on_paper(0.8 * ink(d), 0.8 * drawn(_dashed_lines)),
    "dotted paper": lambda d: on_paper(0.8 * ink(d), 0.6 * dots(_GRID, 2)),
    "specks": lambda d: on_paper(0.8 * ink(d, 7), 0.8 * dots([(12, 20), (400, 300), (30, 320)], 4)),
    "pencil": lambda d: on_paper(0.25 * ink(d)),
    "broken strokes": lambda d: on_paper(0.8 * ink(d) * (np.arange(WIDTH) % 40 > 4)),
    "marker": _marker,
    "small digit on a large sheet": lambda d: on_paper(0.8 * ink(d, 2)),
    "blue ink": _blue,
    "white on black": lambda d: tones(20 + 220 * ink(d)),
    "transparent background": _transparent,
    "cropped to the ink": _cropped,
    "screenshot of a black canvas": _screenshot,
}
