"""Pictures and conversations about them, as these tests show them to models."""

from functools import cache
from hashlib import sha256
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image

from proto.generation import Sampling
from proto.ids import RequestId
from proto.prompt import Chat, ImagePart, TextPart, Turn
from services.runner.engine.batching.sequence import Sequence
from services.runner.engine.loading import LoadedModel
from services.runner.engine.prompts.prompt import tokens_and_sight
from services.runner.engine.vision.picture import Picture

GREEDY = Sampling(temperature=0)


@cache
def png(seed: int, width: int = 56, height: int = 40) -> bytes:
    """A picture of noise: no two seeds look alike."""
    noise = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return saved(Image.fromarray(noise))


def saved(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    written = BytesIO()
    image.save(written, form, **options)
    return written.getvalue()


def part(data: bytes) -> ImagePart:
    return ImagePart(digest=sha256(data).digest(), media_type="image/png", size=len(data))


def turn(*parts: str | bytes, role: Any = "user") -> Turn:
    """Text as it is, bytes as pictures."""
    content = (TextPart(text=p) if isinstance(p, str) else part(p) for p in parts)
    return Turn(role=role, content=tuple(content))


def chat(*parts: str | bytes) -> Chat:
    return Chat(turns=(turn(*parts),))


class Shown:
    """A model, and the pictures that it was shown already."""

    def __init__(self, model: LoadedModel) -> None:
        self.model = model
        self._pictures: dict[bytes, Picture] = {}

    def show(self, *pictures: bytes) -> None:
        assert self.model.eyes is not None
        for data in pictures:
            digest = sha256(data).digest()
            if digest not in self._pictures:
                self._pictures[digest] = self.model.eyes.picture(digest, data)

    def ask(self, request: str, chat: Chat, max_tokens: int = 12, **rest: Any) -> Sequence:
        """Whatever the chat shows has to be shown first."""
        pictures = [self._pictures[image.digest] for image in chat.images]
        tokens, sight = tokens_and_sight(chat, pictures, self.model)
        rest.setdefault("sampling", GREEDY)
        return Sequence(RequestId(request), tokens, max_tokens, sight=sight, **rest)
