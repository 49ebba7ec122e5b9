from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from edgekit.core.errors import BadInputError
from edgekit.core.images import list_images, read_image, to_float, value_range
from edgekit.core.model import Preprocessing

SMALL = Preprocessing(height=6, width=8)
RED = (200, 30, 60)


def quadrants(width: int = 64, height: int = 48) -> Image.Image:
    """Red top left, green top right, blue bottom left, grey bottom right."""
    image = Image.new("RGB", (width, height), (128, 128, 128))
    image.paste((255, 0, 0), (0, 0, width // 2, height // 2))
    image.paste((0, 255, 0), (width // 2, 0, width, height // 2))
    image.paste((0, 0, 255), (0, height // 2, width // 2, height))
    return image


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    mode=st.sampled_from(["1", "L", "LA", "P", "RGB", "RGBA"]),
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    wanted=st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_any_picture_comes_in_the_wanted_size(
    tmp_path: Path, mode: str, width: int, height: int, wanted: tuple[int, int]
) -> None:
    path = tmp_path / "picture.png"
    Image.new(mode, (width, height), 0).save(path)
    x_HWC = read_image(path, Preprocessing(height=wanted[0], width=wanted[1]))
    assert x_HWC.shape == (*wanted, 3)
    assert x_HWC.dtype == np.uint8
    assert x_HWC.flags.writeable


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [("png", "RGB"), ("bmp", "RGB"), ("ppm", "RGB"), ("webp", "RGB"), ("jpg", "RGB"), ("tif", "CMYK"), ("jpg", "CMYK")],
)
def test_one_colour_survives_every_format(tmp_path: Path, suffix: str, mode: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    Image.new("RGB", (40, 30), RED).convert(mode).save(path)
    x_HWC = read_image(path, SMALL)
    assert np.abs(x_HWC.astype(int) - RED).max() <= 4


def test_a_palette_gives_its_colours(tmp_path: Path) -> None:
    path = tmp_path / "picture.gif"
    Image.new("RGB", (40, 30), RED).quantize(4).save(path)
    assert np.abs(read_image(path, SMALL).astype(int) - RED).max() <= 4


def test_grey_is_equal_in_all_channels(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.new("L", (40, 30), 77).save(path)
    assert (read_image(path, SMALL) == 77).all()


def test_16_bit_grey_keeps_its_brightness(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(np.full((30, 40), 128 * 257, np.uint16)).save(path)
    assert (read_image(path, SMALL) == 128).all()


def test_what_is_transparent_is_white(tmp_path: Path) -> None:
    path = tmp_path / "picture.png"
    Image.new("RGBA", (40, 30), (0, 0, 0, 0)).save(path)
    assert (read_image(path, SMALL) == 255).all()
    Image.new("RGBA", (40, 30), (*RED, 255)).save(path)
    assert (read_image(path, SMALL) == RED).all()


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_held_sideways_gives_the_same_picture(tmp_path: Path, orientation: int) -> None:
    """Stored as the camera would store it, for each of the eight EXIF orientations, it reads upright."""
    stored_by = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = quadrants()
    stored = upright.transpose(stored_by[orientation]) if orientation in stored_by else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / "picture.png"
    stored.save(path, exif=exif)
    expected = np.asarray(upright.resize((8, 6), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(read_image(path, SMALL), expected)


def test_shrinking_averages_instead_of_skipping_pixels(tmp_path: Path) -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    path = tmp_path / "picture.png"
    Image.fromarray(stripes).save(path)
    x_HWC = read_image(path, Preprocessing(height=8, width=8))
    assert np.abs(x_HWC.astype(int) - 128).max() <= 6


@pytest.mark.parametrize("content", [b"", b"not a picture", b"\x89PNG\r\n\x1a\n", b"%!PS-Adobe-3.0 EPSF-3.0\n"])
def test_what_is_no_picture_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "picture.png"
    path.write_bytes(content)
    with pytest.raises(BadInputError, match=r"picture\.png"):
        read_image(path, SMALL)


def test_a_missing_picture_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match=r"none\.png: No such file"):
        read_image(tmp_path / "none.png", SMALL)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "gif", "bmp"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0, 0.9))
def test_a_truncated_picture_is_refused_by_name(tmp_path: Path, suffix: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    path = tmp_path / f"picture.{suffix}"
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(BadInputError, match=r"picture\."):
        read_image(path, SMALL)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(suffix=st.sampled_from(["png", "jpg", "webp", "gif", "tif"]), at=st.floats(0, 1), value=st.binary(max_size=6))
def test_a_damaged_picture_is_read_or_refused_but_never_crashes(
    tmp_path: Path, suffix: str, at: float, value: bytes
) -> None:
    path = tmp_path / f"picture.{suffix}"
    quadrants().save(path)
    content = bytearray(path.read_bytes())
    start = int(at * len(content))
    content[start : start + len(value)] = value
    path.write_bytes(content)
    with suppress(BadInputError):
        assert read_image(path, SMALL).shape == (6, 8, 3)


@pytest.mark.parametrize("side", [12_000, 60_000])
def test_a_decompression_bomb_is_refused_before_it_unfolds(tmp_path: Path, side: int) -> None:
    path = tmp_path / "bomb.png"
    path.write_bytes(png_of_claimed_size(side))
    with pytest.raises(BadInputError, match="too large"):
        read_image(path, SMALL)


def png_of_claimed_size(side: int) -> bytes:
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


channel = st.floats(0, 1, width=32)
deviation = st.floats(0.125, 4, width=32)


@given(
    mean=st.tuples(channel, channel, channel),
    std=st.tuples(deviation, deviation, deviation),
    pixels=st.binary(min_size=12, max_size=12),
)
def test_normalised_pixels_undo_to_pixels_and_stay_in_range(
    mean: tuple[float, float, float], std: tuple[float, float, float], pixels: bytes
) -> None:
    preprocessing = Preprocessing(height=2, width=2, mean=mean, std=std)
    x_uint8 = np.frombuffer(pixels, np.uint8).reshape(2, 2, 3)
    x = to_float(x_uint8, preprocessing)
    assert x.dtype == np.float32
    np.testing.assert_allclose((x * np.array(std) + np.array(mean)) * 255, x_uint8, atol=1e-3)
    low, high = value_range(preprocessing)
    assert low - 1e-5 <= x.min()
    assert x.max() <= high + 1e-5
    extremes = to_float(np.array([[0, 0, 0], [255, 255, 255]], np.uint8), preprocessing)
    assert (low, high) == pytest.approx((extremes.min(), extremes.max()), abs=1e-5)


def test_plain_pixels_lie_between_0_and_1_exactly() -> None:
    x = to_float(np.arange(256, dtype=np.uint8).repeat(3).reshape(256, 3), SMALL)
    np.testing.assert_array_equal(x[:, 0], np.arange(256, dtype=np.float32) / np.float32(255))
    assert value_range(SMALL) == (0, 1)


def test_pictures_of_a_folder_are_listed_in_order_without_the_rest(tmp_path: Path) -> None:
    for name in ("b.png", "a/z.JPG", "a/y.webp", "notes.txt", ".hidden.png", ".git/x.png", "c.png.part"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"x")
    (tmp_path / "folder.png").mkdir()
    assert [str(path.relative_to(tmp_path)) for path in list_images(tmp_path)] == ["a/y.webp", "a/z.JPG", "b.png"]


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="holds no picture"):
        list_images(tmp_path)
    with pytest.raises(BadInputError, match="is not a folder"):
        list_images(tmp_path / "none")


def test_only_the_first_frame_of_an_animation_counts(tmp_path: Path) -> None:
    first, second = Image.new("RGB", (8, 6), "white"), Image.new("RGB", (8, 6), "black")
    buffer = io.BytesIO()
    first.save(buffer, format="GIF", save_all=True, append_images=[second])
    path = tmp_path / "picture.gif"
    path.write_bytes(buffer.getvalue())
    assert (read_image(path, SMALL) == 255).all()
