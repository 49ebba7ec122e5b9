"""Draws the example pictures: German traffic signs as a camera might crop them, made from geometry alone.

    python examples/draw_signs.py -o examples/

Every sign is drawn with flat shapes in a square from -1 to 1 (y down), then tilted, lit, set before a background and
blurred. Same script, same pictures. The letters and digits are strokes of this file, so that no font is needed.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIZE = 96
FINE = 8 * SIZE
"""Signs are drawn at this many pixels and scaled down, which smooths their edges."""

Colour = tuple[int, int, int]
Point = tuple[float, float]
Stroke = Sequence[Point]

RED, WHITE, BLACK = (186, 24, 34), (242, 242, 238), (26, 26, 28)
BLUE, YELLOW, GREY = (18, 72, 158), (250, 190, 20), (120, 122, 120)


class Face:
    """A sign's face: shapes painted over one another on a transparent square."""

    def __init__(self) -> None:
        self.image = Image.new("RGBA", (FINE, FINE))
        self._draw = ImageDraw.Draw(self.image)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        self._draw.polygon([_pixel(point) for point in points], fill=colour)

    def disc(self, centre: Point, radius: float, colour: Colour) -> None:
        (x, y), r = _pixel(centre), radius * FINE / 2
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=colour)

    def rounded(self, corners: Sequence[Point], radius: float, colour: Colour) -> None:
        """A polygon whose corners are rounded outwards by `radius`."""
        self.polygon(corners, colour)
        self.strokes([[*corners, corners[0]]], 2 * radius, colour)

    def strokes(self, strokes: Sequence[Stroke], width: float, colour: Colour) -> None:
        """Lines with round ends and joints."""
        for stroke in strokes:
            self._draw.line([_pixel(point) for point in stroke], fill=colour, width=round(width * FINE / 2))
            for point in stroke:
                self.disc(point, width / 2, colour)


def _pixel(point: Point) -> Point:
    return (point[0] + 1) * FINE / 2, (point[1] + 1) * FINE / 2


def regular(n: int, radius: float, first_degrees: float) -> list[Point]:
    """The corners of a regular polygon round the centre."""
    angles = [math.radians(first_degrees + 360 * corner / n) for corner in range(n)]
    return [(radius * math.cos(angle), radius * math.sin(angle)) for angle in angles]


def arc(centre: Point, radii: Point, from_degrees: float, to_degrees: float) -> list[Point]:
    """Points along an ellipse; degrees grow clockwise from the right."""
    steps = 24
    angles = [math.radians(from_degrees + (to_degrees - from_degrees) * step / steps) for step in range(steps + 1)]
    return [(centre[0] + radii[0] * math.cos(angle), centre[1] + radii[1] * math.sin(angle)) for angle in angles]


# Each glyph stands in a box of width 1 and height 2, from (0, 0) to (1, 2); a stroke's width is added outside.
GLYPHS: dict[str, list[list[Point]]] = {
    "0": [[*arc((0.5, 0.5), (0.5, 0.5), 180, 360), *arc((0.5, 1.5), (0.5, 0.5), 0, 180), (0, 0.5)]],
    "3": [
        [*arc((0.48, 0.48), (0.48, 0.48), 190, 450)],
        [*arc((0.48, 1.48), (0.52, 0.52), 270, 530)],
    ],
    "8": [arc((0.5, 0.48), (0.46, 0.48), 0, 360), arc((0.5, 1.48), (0.5, 0.52), 0, 360)],
    "S": [
        [
            *arc((0.5, 0.5), (0.5, 0.5), 340, 180),
            (0.04, 0.66),
            (0.2, 0.86),
            (0.8, 1.14),
            (0.96, 1.34),
            *arc((0.5, 1.5), (0.5, 0.5), 0, 160),
        ]
    ],
    "T": [[(0, 0), (1, 0)], [(0.5, 0), (0.5, 2)]],
    "O": [[*arc((0.5, 0.5), (0.5, 0.5), 180, 360), *arc((0.5, 1.5), (0.5, 0.5), 0, 180), (0, 0.5)]],
    "P": [[(0, 2), (0, 0), (0.5, 0), *arc((0.5, 0.55), (0.5, 0.55), 270, 450), (0, 1.1)]],
}


def lettering(text: str, width: float, height: float, line: float, gap: float) -> list[list[Point]]:
    """The strokes of a word centred on the sign; `width` is that of one glyph, `line` the stroke's width."""
    step = width + gap
    left = -(step * len(text) - gap) / 2
    inner_width, inner_height = width - line, height - line
    return [
        [
            (left + step * place + line / 2 + x * inner_width, -height / 2 + line / 2 + y / 2 * inner_height)
            for x, y in stroke
        ]
        for place, glyph in enumerate(text)
        for stroke in GLYPHS[glyph]
    ]


def stop(face: Face) -> None:
    face.polygon(regular(8, 1.0, 22.5), WHITE)
    face.polygon(regular(8, 0.94, 22.5), RED)
    face.strokes(lettering("STOP", 0.32, 0.72, 0.11, 0.09), 0.11, WHITE)


def yield_(face: Face) -> None:
    face.rounded(regular(3, 0.98, 90), 0.06, RED)
    face.rounded(regular(3, 0.64, 90), 0.03, WHITE)


def no_entry(face: Face) -> None:
    face.disc((0, 0), 0.98, WHITE)
    face.disc((0, 0), 0.94, RED)
    face.polygon([(-0.74, -0.17), (0.74, -0.17), (0.74, 0.17), (-0.74, 0.17)], WHITE)


def speed_limit(number: str) -> Callable[[Face], None]:
    def draw(face: Face) -> None:
        face.disc((0, 0), 0.98, WHITE)
        face.disc((0, 0), 0.95, RED)
        face.disc((0, 0), 0.71, WHITE)
        face.strokes(lettering(number, 0.48, 0.86, 0.14, 0.1), 0.14, BLACK)

    return draw


def priority_road(face: Face) -> None:
    face.rounded(regular(4, 0.9, 0), 0.07, BLACK)
    face.rounded(regular(4, 0.88, 0), 0.06, WHITE)
    face.rounded(regular(4, 0.6, 0), 0.03, BLACK)
    face.rounded(regular(4, 0.58, 0), 0.03, YELLOW)


def keep_left(face: Face) -> None:
    face.disc((0, 0), 0.98, WHITE)
    face.disc((0, 0), 0.94, BLUE)
    shaft, tip, back = 0.13, (-0.52, 0.52), (0.46, -0.46)
    side = shaft / math.sqrt(2)
    face.polygon(
        [
            (back[0] - side, back[1] - side),
            (back[0] + side, back[1] + side),
            (-0.3 + side, 0.3 + side),
            (-0.3 - side, 0.3 - side),
        ],
        WHITE,
    )
    face.polygon([tip, (0.3, 0.52), (0.06, 0.28), (-0.28, 0.06), (-0.52, -0.3)], WHITE)


def general_caution(face: Face) -> None:
    face.rounded(regular(3, 0.98, -90), 0.06, RED)
    face.rounded(regular(3, 0.66, -90), 0.03, WHITE)
    face.polygon([(-0.1, -0.36), (0.1, -0.36), (0.06, 0.1), (-0.06, 0.1)], BLACK)
    face.disc((0, 0.22), 0.085, BLACK)


@dataclass(frozen=True, kw_only=True, slots=True)
class Scene:
    """How a sign is seen.

    `light` multiplies its colours, `turn_degrees` and `lean` tilt it, `blur` is in pixels of the picture, `fill` is the
    share of the picture's side that the sign takes, `centre` where its centre lies (from -1 to 1).
    """

    draw: Callable[[Face], None]
    seed: int
    sky: Colour
    ground: Colour
    light: float = 1.0
    turn_degrees: float = 0.0
    lean: float = 0.0
    blur: float = 0.6
    fill: float = 0.76
    centre: Point = (0.0, 0.0)


SCENES = {
    "stop": Scene(draw=stop, seed=1, sky=(196, 210, 226), ground=(86, 108, 58), light=1.02, turn_degrees=3, lean=0.06),
    "yield": Scene(
        draw=yield_,
        seed=2,
        sky=(150, 178, 208),
        ground=(70, 84, 62),
        light=0.92,
        turn_degrees=-4,
        fill=0.82,
        centre=(0, -0.2),
    ),
    "no_entry": Scene(draw=no_entry, seed=3, sky=(128, 122, 116), ground=(78, 80, 86), light=0.88, lean=-0.08),
    "speed_limit_30": Scene(
        draw=speed_limit("30"), seed=4, sky=(206, 216, 228), ground=(96, 118, 70), turn_degrees=-2, lean=0.05
    ),
    "speed_limit_80": Scene(
        draw=speed_limit("80"), seed=5, sky=(74, 88, 98), ground=(48, 60, 42), light=0.72, turn_degrees=4, blur=0.8
    ),
    "priority_road": Scene(
        draw=priority_road, seed=6, sky=(120, 150, 190), ground=(92, 104, 66), light=0.97, turn_degrees=-3, fill=0.8
    ),
    "keep_left": Scene(draw=keep_left, seed=7, sky=(172, 176, 178), ground=(110, 106, 100), light=0.95, lean=0.1),
    "general_caution": Scene(
        draw=general_caution,
        seed=8,
        sky=(190, 200, 208),
        ground=(66, 88, 48),
        light=0.9,
        turn_degrees=2,
        lean=-0.06,
        fill=0.82,
        centre=(0, 0.2),
    ),
}


def render(scene: Scene) -> Image.Image:
    """The picture of a scene, RGB, SIZE x SIZE."""
    generator = np.random.default_rng(scene.seed)
    background = _background(scene, generator)
    face = Face()
    scene.draw(face)
    placed = _tilt(face.image, scene)
    background.paste(_lit(placed, scene.light), mask=placed.getchannel("A"))
    seen = background.filter(ImageFilter.GaussianBlur(scene.blur * FINE / SIZE)).resize(
        (SIZE, SIZE), Image.Resampling.BOX
    )
    grain = generator.normal(0, 2.5, (SIZE, SIZE, 3))
    return Image.fromarray(np.clip(np.rint(np.asarray(seen) + grain), 0, 255).astype(np.uint8))


def _background(scene: Scene, generator: np.random.Generator) -> Image.Image:
    """Sky over ground, with foliage, walls and the sign's post; out of focus."""
    image = Image.new("RGB", (FINE, FINE), scene.sky)
    draw = ImageDraw.Draw(image)
    horizon = generator.uniform(0.35, 0.7) * FINE
    draw.rectangle((0, horizon, FINE, FINE), fill=scene.ground)
    for _ in range(90):
        x, y = generator.uniform(0, FINE), generator.normal(horizon, FINE / 6)
        radius = generator.uniform(0.02, 0.12) * FINE
        shade = generator.uniform(0.55, 1.25)
        base = scene.ground if generator.uniform() < 0.75 else scene.sky
        colour = tuple(min(255, round(channel * shade)) for channel in base)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    middle = (1 + scene.centre[0]) * FINE / 2
    image = image.filter(ImageFilter.GaussianBlur(FINE / 50))
    ImageDraw.Draw(image).rectangle((middle - FINE / 36, FINE / 2, middle + FINE / 36, FINE), fill=GREY)
    return image


def _tilt(face: Image.Image, scene: Scene) -> Image.Image:
    """The face turned in the picture's plane and leaning about its upright axis, scaled to its place."""
    corners = np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)], dtype=np.float64)
    angle = math.radians(scene.turn_degrees)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    seen = corners / (1 + scene.lean * corners[:, :1]) @ rotation.T * scene.fill + scene.centre
    from_seen = _homography((seen + 1) * FINE / 2, (corners + 1) * FINE / 2)
    return face.transform((FINE, FINE), Image.Transform.PERSPECTIVE, from_seen, Image.Resampling.BILINEAR)


def _homography(source: np.ndarray, target: np.ndarray) -> tuple[float, ...]:
    """The eight coefficients that map four source points to four target points, as Pillow's PERSPECTIVE takes them."""
    rows = [
        row
        for (x, y), (u, v) in zip(source, target, strict=True)
        for row in ([x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y])
    ]
    coefficients = np.linalg.solve(np.array(rows), target.reshape(-1))
    # Linear algebra libraries differ in the last bits, which must not show in the pictures.
    return tuple(np.round(coefficients, 10).tolist())


def _lit(face: Image.Image, light: float) -> Image.Image:
    """The face in the scene's light, a little darker towards its lower right."""
    down, across = np.mgrid[0 : 1 : FINE * 1j, 0 : 1 : FINE * 1j]
    brightness = light * (1.06 - 0.14 * (0.7 * down + 0.3 * across))
    pixels = np.asarray(face.convert("RGB"), dtype=np.float64) * brightness[..., None]
    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Draw the example traffic signs.")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="folder for the .png files")
    folder = parser.parse_args(argv).output
    folder.mkdir(parents=True, exist_ok=True)
    for name, scene in SCENES.items():
        render(scene).save(folder / f"{name}.png")


if __name__ == "__main__":
    main()
