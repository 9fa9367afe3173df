"""Picture files, honest and otherwise."""

import struct
import zlib

import pytest
from PIL import Image

from services.runner.engine.vision.opening import opened
from services.runner.engine.vision.picture import Unreadable
from tests.unit.engine.vision.pictures import png, saved

RED = (255, 0, 0)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF"])
def test_all_forms_that_a_gateway_lets_pass_are_opened(form):
    image = opened(saved(Image.new("RGB", (30, 20), RED), form))
    assert (image.mode, image.size) == ("RGB", (30, 20))
    assert image.getpixel((3, 3))[0] > 240


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "I;16", "CMYK"])
def test_every_mode_becomes_rgb(mode):
    form = "JPEG" if mode == "CMYK" else "PNG"
    assert opened(saved(Image.new(mode, (8, 8)), form)).mode == "RGB"


def test_what_shows_through_is_white():
    image = Image.new("RGBA", (8, 8), (255, 0, 0, 0))
    image.putpixel((1, 1), (0, 0, 255, 255))
    seen = opened(saved(image))
    assert seen.getpixel((0, 0)) == (255, 255, 255)
    assert seen.getpixel((1, 1)) == (0, 0, 255)


def test_a_photograph_stands_upright():
    turned = Image.Exif()
    turned[0x0112] = 6
    assert opened(saved(Image.new("RGB", (30, 20)), "JPEG", exif=turned)).size == (20, 30)


def test_of_a_moving_picture_the_first_frame_counts():
    frames = [Image.new("RGB", (8, 8), color) for color in (RED, (0, 0, 255))]
    moving = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert opened(moving).getpixel((0, 0)) == RED


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def claiming(width, height):
    """A PNG of a few bytes that says it is that large."""
    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (claiming(12_000, 12_000), "12000 x 12000 pixels"),
        (claiming(100_000, 100_000), "too many pixels|pixels, 64000000 are the most"),
        (claiming(0, 10), "cannot be read"),
        (claiming(100, 100), "cannot be read"),
        (png(1)[:300], "cannot be read"),
        (png(1)[:20], "cannot be read"),
        (b"GIF89a", "cannot be read"),
        (b"\xff\xd8\xff\xe0" + bytes(100), "cannot be read"),
        (b"RIFF\x10\0\0\0WEBPVP8 garbage!", "cannot be read"),
        (saved(Image.new("RGB", (8, 8)), "BMP"), "cannot be read"),
        (b"", "cannot be read"),
    ],
)
def test_broken_and_hostile_files_are_refused(data, why):
    with pytest.raises(Unreadable, match=why):
        opened(data)


def test_a_text_chunk_that_unpacks_to_very_much_is_refused():
    bomb = zlib.compress(bytes(80_000_000), 9)
    text = chunk(b"zTXt", b"comment\0\0" + bomb)
    whole = png(1)
    with pytest.raises(Unreadable):
        opened(whole[:33] + text + whole[33:])
