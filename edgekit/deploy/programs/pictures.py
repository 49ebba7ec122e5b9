"""From picture files to what a network takes, as edgekit reads them; needs Pillow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgekit.deploy.programs.refusal import Refusal, missing

FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise missing("Pillow", "pillow") from None
    return Image


def opened(path: Path) -> Any:
    """The picture in RGB, upright by its EXIF orientation, transparency on white; of an animation the first frame."""
    Image = pillow()
    from PIL import ImageOps

    try:
        with Image.open(path, formats=FORMATS) as image:
            if Image.MAX_IMAGE_PIXELS and image.width * image.height > Image.MAX_IMAGE_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels are too many")
            return rgb(ImageOps.exif_transpose(image))
    except Exception as error:  # the decoders raise whatever a broken file makes them trip over
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise Refusal(f"cannot read the picture {path}: {reason}") from error


def rgb(image: Any) -> Any:
    Image = pillow()
    if image.mode.startswith("I"):  # 16-bit grayscale, which convert() would clip at 255
        grey = np.clip(np.asarray(image) / 257, 0, 255).round().astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    if (
        image.mode in ("LA", "La", "PA", "RGBA", "RGBa")
        or "transparency" in image.info
        or (image.mode == "P" and image.palette.mode.endswith("A"))
    ):
        transparent = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), transparent).convert("RGB")
    return image.convert("RGB")


def preprocessed(image: Any, wanted: Any) -> Any:
    """`x_HWC` float32 of the network's size: bilinear with antialias, then `(x / 255 - mean) / std`."""
    x_HWC = np.asarray(image.resize((wanted["width"], wanted["height"]), pillow().BILINEAR), np.float32)
    mean, std = np.array(wanted["mean"], np.float32), np.array(wanted["std"], np.float32)
    return ((x_HWC / np.float32(255) - mean) / std).astype(np.float32)
