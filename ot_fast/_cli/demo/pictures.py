"""Photographs as 8-bit RGB, whatever their files hold."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..arguments import CommandError

Array = NDArray[Any]


@dataclass(frozen=True)
class Picture:
    """An 8-bit RGB image of shape (height, width, 3) and where it came from."""

    name: str
    pixels: Array

    @property
    def size(self) -> str:
        height, width, _ = self.pixels.shape
        return f"{width} \N{MULTIPLICATION SIGN} {height}"


def sample_pictures() -> tuple[Picture, Picture]:
    """Return the two photographs that scikit-learn ships."""
    from sklearn.datasets import load_sample_image

    source, target = (
        Picture(name, np.asarray(load_sample_image(name))) for name in ("china.jpg", "flower.jpg")
    )
    return source, target


def read_picture(path: str) -> Picture:
    """Read an image file of any mode as 8-bit RGB, transparency over white."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            image.load()
            pixels = _to_rgb(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise CommandError(f"{path} is not an image that Pillow can read", 2) from error
    except Image.DecompressionBombError as error:
        raise CommandError(f"{path}: {error}", 2) from error
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or error}", 2) from error
    except (ValueError, SyntaxError) as error:  # Pillow's words for a broken file
        raise CommandError(f"{path} is a damaged image: {error}", 2) from error
    return Picture(Path(path).name, pixels)


def _to_rgb(image: Any) -> Array:
    from PIL import Image

    if image.mode.startswith(("I", "F")):
        return _deep_grey(np.asarray(image, dtype=np.float64))
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return np.asarray(image.convert("RGB"))


def _deep_grey(values: Array) -> Array:
    """Bring a grey image of 16 bits, 32 bits or floats to 8 bits."""
    values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    peak = float(values.max())
    full = next((scale for scale in (1.0, 255.0, 65535.0) if peak <= scale), peak)
    # Pillow opens 16-bit files as integers, of which a dark one may stay below 256.
    full = 65535.0 if full == 255.0 or (full == 1.0 and np.all(values == values.round())) else full
    grey = np.clip(np.rint(255.0 * values / full), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def unique_colours(pixels: Array) -> tuple[Array, Array]:
    """Return the distinct rows of 8-bit colours and, for each pixel, its row."""
    channels = pixels.reshape(-1, 3).astype(np.uint32)
    codes = channels[:, 0] << 16 | channels[:, 1] << 8 | channels[:, 2]
    distinct, where = np.unique(codes, return_inverse=True)
    rows = np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], axis=1)
    return rows.astype(np.uint8), where.reshape(-1)
