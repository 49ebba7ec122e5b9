"""Pictures on disk to network inputs. Shapes: N images, H x W positions, C = 3 channels, always RGB."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from edgekit.core.errors import BadInputError
from edgekit.core.model import Preprocessing

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")

# Named, so that no picture reaches a decoder that starts another program (EPS) or that nobody has a use for.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def list_images(folder: Path) -> tuple[Path, ...]:
    """The pictures in `folder` and below, by suffix, in the order of their paths; hidden ones are left out.

    Raises BadInputError where the folder cannot be read or holds no picture.
    """
    if not folder.is_dir():
        raise BadInputError(f"{folder} is not a folder", hint="give a folder that holds pictures")
    images = tuple(
        path
        for path in sorted(folder.rglob("*"))
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not images:
        raise BadInputError(f"{folder} holds no picture", hint=f"pictures end in {', '.join(SUFFIXES)}")
    return images


def read_image(path: Path, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """`x_HWC` uint8 RGB of the wanted size, upright by its EXIF orientation, transparency on white.

    Bilinear with antialias; the aspect ratio is not kept. Of an animation the first frame counts. Raises BadInputError
    for a file that is missing, truncated, no picture, or so large that it may be a decompression bomb.
    """
    with decoders_quiet():
        return scaled(open_image(path, name=str(path)), preprocessing)


@contextmanager
def decoders_quiet() -> Iterator[None]:
    """Drops what the decoders have to say about odd pictures. Around a pool of threads, never inside: filters of warnings
    belong to the process."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_image(file: Path | IO[bytes], *, name: str) -> Image.Image:
    """RGB in its own size, as `read_image` reads it; `name` stands in the errors. Raises BadInputError."""
    try:
        with Image.open(file, formats=_FORMATS) as image:
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise Image.DecompressionBombError(f"{image.width} x {image.height} pixels")
            return _rgb(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as error:
        raise BadInputError(f"the picture {name} is too large: {error}", hint="make it smaller first") from error
    except UnidentifiedImageError as error:
        raise BadInputError(
            f"cannot read the picture {name}: its format is not known", hint="remove or replace the file"
        ) from error
    except Exception as error:  # the decoders raise whatever a broken file makes them trip over
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise BadInputError(f"cannot read the picture {name}: {reason}", hint="remove or replace the file") from error


def scaled(image: Image.Image, preprocessing: Preprocessing) -> npt.NDArray[np.uint8]:
    """`x_HWC` of the wanted size."""
    return np.array(image.resize((preprocessing.width, preprocessing.height), Image.Resampling.BILINEAR), np.uint8)


def to_float(x_uint8: npt.NDArray[np.uint8], preprocessing: Preprocessing) -> npt.NDArray[np.float32]:
    """`(x / 255 - mean) / std`, channels last; any leading shape."""
    mean = np.array(preprocessing.mean, np.float32)
    std = np.array(preprocessing.std, np.float32)
    return ((x_uint8.astype(np.float32) / np.float32(255) - mean) / std).astype(np.float32)


def value_range(preprocessing: Preprocessing) -> tuple[float, float]:
    """The least and the greatest value that any picture can have after `to_float`."""
    channels = list(zip(preprocessing.mean, preprocessing.std, strict=True))
    return min((0 - mean) / std for mean, std in channels), max((1 - mean) / std for mean, std in channels)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16-bit grayscale, which convert() would clip at 255
        grey = np.clip(np.asarray(image) / 257, 0, 255).round().astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if image.has_transparency_data:
        transparent = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), transparent).convert("RGB")
    return image.convert("RGB")
