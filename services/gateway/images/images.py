"""From the pictures and documents as a client names them to hashes that engines can ask for."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import sha256

from msgspec.structs import replace

from bus.fleet import Fleet, card_of
from proto.errors import Code, MeshError
from proto.presence import EngineBeat
from proto.prompt import Chat, DocumentPart, ImagePart, Part, Prompt, TextPart, Turn
from services.gateway.images import data_url
from services.gateway.images.data_url import Unusable
from services.gateway.images.fetch import Fetcher
from services.gateway.images.kind import KNOWN, media_type
from services.gateway.images.limits import MOST, STORED_BYTES, Limits
from services.gateway.images.store import Store

Held = ImagePart | DocumentPart


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
        self,
        model: str,
        prompts: tuple[Prompt, ...],
        fleet: Fleet,
        param: str = "messages",
        alike: tuple[Prompt, ...] = (),
    ) -> AsyncIterator[tuple[Prompt, ...]]:
        """The prompts as engines get them, then those that are ``alike``, with the same pictures:
        these are in the store for that long.

        Raises MeshError: a model that does not see or read, or a picture that cannot be had; where
        only those that are alike show any, what cannot be had stays as it is.
        ``param`` is the field of the request that holds the pictures.
        """
        urls, documents = _named(prompts)
        is_own = bool(urls or documents)
        if not is_own:
            urls, documents = _named(alike[: len(prompts)])
        if not urls and not documents:
            yield (*prompts, *alike) if alike else prompts
            return
        if is_own and urls:
            _expect_sight(model, fleet, param)
        if is_own and documents:
            _expect_reader(model, fleet, param)
        if (count := len(urls) + len(documents)) > MOST:
            what = "images and documents" if documents else "images"
            raise _refusal(f"The request holds {count} {what}, {MOST} are the most.", param)
        # What is not written into the request is the upstream's to fetch.
        files = [each.url for each in documents if data_url.is_data_url(each.url)]
        found: dict[str, Held] = {}
        try:
            try:
                await self._gather(urls, files, found, param)
            except MeshError:
                if is_own:
                    raise
            yield tuple(_with(prompt, found) for prompt in (*prompts, *alike))
        finally:
            for held in found.values():
                self.store.let_go(held.digest)

    async def _gather(
        self, urls: list[str], files: list[str], found: dict[str, Held], param: str
    ) -> None:
        """One after the other is begun; of several that fail, the first to do so is told."""

        async def one(url: str, find: Callable[[str], Awaitable[Held]], which: str) -> None:
            try:
                found[url] = await find(url)
            except Unusable as error:
                raise _refusal(f"{which}: {error}.", param) from error

        try:
            async with asyncio.TaskGroup() as tasks:
                for url in dict.fromkeys(urls):
                    which = f"Image {urls.index(url) + 1} of {len(urls)}"
                    tasks.create_task(one(url, self._image, which))
                for url in dict.fromkeys(files):
                    which = f"Document {files.index(url) + 1} of {len(files)}"
                    tasks.create_task(one(url, self._document, which))
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
        return ImagePart(digest=await self._keep(data), media_type=kind, size=len(data))

    async def _document(self, url: str) -> DocumentPart:
        limit, kinds = self._limits.image_bytes, data_url.DOCUMENTS
        data = await asyncio.to_thread(data_url.decode, url, limit, kinds)
        if len(data) > limit:
            raise data_url.too_large(limit)
        if not data.startswith(b"%PDF-"):
            raise Unusable("its bytes are no PDF; send one, or its text")
        return DocumentPart(digest=await self._keep(data), media_type=kinds[0], size=len(data))

    async def _keep(self, data: bytes) -> bytes:
        """By its hash."""
        digest = await asyncio.to_thread(lambda: sha256(data).digest())
        self.store.keep(digest, data)
        return digest


def _named(prompts: tuple[Prompt, ...]) -> tuple[list[str], list[DocumentPart]]:
    """Addresses of pictures, and documents. What has a digest was held before, by whoever holds it
    still.
    """
    chats = [prompt for prompt in prompts if isinstance(prompt, Chat)]
    urls = [image.url for chat in chats for image in chat.images if not image.digest]
    return urls, [each for chat in chats for each in chat.documents if not each.digest]


def _with(prompt: Prompt, found: dict[str, Held]) -> Prompt:
    if not isinstance(prompt, Chat):
        return prompt
    return replace(prompt, turns=tuple(_seen(turn, found) for turn in prompt.turns))


def _seen(turn: Turn, found: dict[str, Held]) -> Turn:
    if not turn.images and not turn.documents:
        return turn
    return replace(turn, content=tuple(_part(part, found) for part in turn.content))


def _part(part: Part | str, found: dict[str, Held]) -> Part:
    assert not isinstance(part, str), "a turn with pictures is made of parts"
    if isinstance(part, TextPart) or part.url not in found:
        return part
    held = found[part.url]
    return replace(part, url="", digest=held.digest, media_type=held.media_type, size=held.size)


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


def _expect_reader(model: str, fleet: Fleet, param: str) -> None:
    """Raises MeshError. None of our engines reads them."""
    holders = fleet.holders(model)
    if not holders or any(beat.upstream for beat in holders):
        return
    raise MeshError(
        Code.UNSUPPORTED_PARAMETER,
        f"The model {model!r} does not read documents. Send their text, or ask a provider's model "
        "that does.",
        param=param,
    )


def _sees(beat: EngineBeat, model: str) -> bool:
    card = card_of(beat, model)
    return card is not None and card.kind == "vlm"


def _refusal(message: str, param: str) -> MeshError:
    return MeshError(Code.INVALID_REQUEST, message, param=param)
