"""From a picture file's bytes to an RGB image, whatever the file tries."""

import warnings
from io import BytesIO

from PIL import Image, ImageOps

from services.runner.engine.vision.picture import Unreadable

FORMATS = ("PNG", "JPEG", "WEBP", "GIF")
MOST_PIXELS = 64_000_000
"""Beyond any screen or camera of use to a model; unpacked it takes 256 MB."""


def opened(data: bytes) -> Image.Image:
    """Upright, in RGB; of a moving picture the first frame. Raises Unreadable."""
    try:
        with warnings.catch_warnings():
            # Our own limit is below Pillow's, and what else it warns of is the file's matter.
            warnings.simplefilter("ignore")
            image = Image.open(BytesIO(data), formats=FORMATS)
            if image.width * image.height > MOST_PIXELS:
                raise Unreadable(
                    f"has {image.width} x {image.height} pixels, {MOST_PIXELS} are the most; "
                    "scale it down"
                )
            return _on_white(ImageOps.exif_transpose(image))
    except Image.DecompressionBombError as bomb:
        raise Unreadable("unpacks to too many pixels; scale it down") from bomb
    except (OSError, SyntaxError, ValueError, EOFError, MemoryError) as broken:
        raise Unreadable(f"cannot be read ({broken}); save it anew as PNG or JPEG") from broken


def _on_white(image: Image.Image) -> Image.Image:
    """What shows through is white, as on paper: the colour behind alpha is any colour."""
    if not image.has_transparency_data:
        return image.convert("RGB")
    layered = image.convert("RGBA")
    paper = Image.new("RGBA", layered.size, "white")
    return Image.alpha_composite(paper, layered).convert("RGB")
