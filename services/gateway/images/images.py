"""From the pictures as a client names them to hashes that engines can ask for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256

from msgspec.structs import replace

from bus.fleet import Fleet, card_of
from proto.errors import Code, MeshError
from proto.inference import Chat, ImagePart, Part, Prompt, TextPart, Turn
from proto.presence import EngineBeat
from services.gateway.images import data_url
from services.gateway.images.data_url import Unusable
from services.gateway.images.fetch import Fetcher
from services.gateway.images.kind import KNOWN, media_type
from services.gateway.images.limits import MOST, STORED_BYTES, Limits
from services.gateway.images.store import Store


class Images:
    """All pictures of one gateway process."""

    def __init__(self, limits: Limits, fetcher: Fetcher | None = None) -> None:
        self._limits = limits
        self._fetcher = fetcher or Fetcher(limits)
        self.store = Store(STORED_BYTES)

    async def close(self) -> None:
        await self._fetcher.close()

    @asynccontextmanager
    async def held(
        self, model: str, prompts: tuple[Prompt, ...], fleet: Fleet, param: str = "messages"
    ) -> AsyncIterator[tuple[Prompt, ...]]:
        """The prompts as engines get them: their pictures are in the store for that long.

        Raises MeshError: a model that does not see, or a picture that cannot be had.
        ``param`` is the field of the request that holds the pictures.
        """
        chats = [prompt for prompt in prompts if isinstance(prompt, Chat)]
        # What has a digest was held before, by whoever holds it still.
        urls = [image.url for chat in chats for image in chat.images if not image.digest]
        if not urls:
            yield prompts
            return
        _expect_sight(model, fleet, param)
        if len(urls) > MOST:
            raise _refusal(f"The request holds {len(urls)} images, {MOST} are the most.", param)
        found: dict[str, ImagePart] = {}
        try:
            await self._gather(urls, found, param)
            yield tuple(_with(prompt, found) for prompt in prompts)
        finally:
            for image in found.values():
                self.store.let_go(image.digest)

    async def _gather(self, urls: list[str], found: dict[str, ImagePart], param: str) -> None:
        """One after the other is begun; of several that fail, the first to do so is told."""

        async def one(url: str, which: str) -> None:
            try:
                found[url] = await self._image(url)
            except Unusable as error:
                raise _refusal(f"{which}: {error}.", param) from error

        try:
            async with asyncio.TaskGroup() as tasks:
                for url in dict.fromkeys(urls):
                    which = f"Image {urls.index(url) + 1} of {len(urls)}"
                    tasks.create_task(one(url, which))
        except ExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _image(self, url: str) -> ImagePart:
        if data_url.is_data_url(url):
            data = await asyncio.to_thread(data_url.decode, url, self._limits.image_bytes)
        else:
            data = await self._fetcher.fetch(url)
        if len(data) > self._limits.image_bytes:
            raise data_url.too_large(self._limits.image_bytes)
        kind = media_type(data)
        if kind is None:
            what = "it is empty" if not data else "its bytes are no picture that is known here"
            raise Unusable(f"{what}; send {KNOWN}")
        digest = await asyncio.to_thread(lambda: sha256(data).digest())
        self.store.keep(digest, data)
        return ImagePart(digest=digest, media_type=kind, size=len(data))


def _with(prompt: Prompt, found: dict[str, ImagePart]) -> Prompt:
    if not isinstance(prompt, Chat):
        return prompt
    return replace(prompt, turns=tuple(_seen(turn, found) for turn in prompt.turns))


def _seen(turn: Turn, found: dict[str, ImagePart]) -> Turn:
    if not turn.images:
        return turn
    return replace(turn, content=tuple(_part(part, found) for part in turn.content))


def _part(part: Part | str, found: dict[str, ImagePart]) -> Part:
    assert not isinstance(part, str), "a turn with pictures is made of parts"
    return part if isinstance(part, TextPart) or part.digest else found[part.url]


def _expect_sight(model: str, fleet: Fleet, param: str) -> None:
    """Raises MeshError before anything is fetched for a model that could not see it.

    Upstreams say nothing of what their models see; they are asked.
    """
    holders = fleet.holders(model)
    if not holders or any(beat.upstream or _sees(beat, model) for beat in holders):
        return
    seeing = ", ".join(card.id for card in fleet.models() if card.kind == "vlm")
    remedy = f"Ask one that does: {seeing}" if seeing else "No model here does; load one that does"
    raise MeshError(
        Code.UNSUPPORTED_PARAMETER,
        f"The model {model!r} does not see images. {remedy}, or leave the images out.",
        param=param,
    )


def _sees(beat: EngineBeat, model: str) -> bool:
    card = card_of(beat, model)
    return card is not None and card.kind == "vlm"


def _refusal(message: str, param: str) -> MeshError:
    return MeshError(Code.INVALID_REQUEST, message, param=param)
