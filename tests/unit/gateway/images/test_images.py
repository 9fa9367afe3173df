"""From the pictures of a request to what engines get, and how long they are kept."""

import asyncio
from base64 import b64encode
from hashlib import sha256

import pytest

from bus import blobs
from bus.fleet import Fleet
from proto.blobs import BLOB_PIECE
from proto.errors import Code, MeshError
from proto.ids import GatewayId, fresh
from proto.presence import EngineBeat, ModelCard
from proto.prompt import Chat, ImagePart, Text, TextPart, Turn
from services.gateway.images import images as module
from services.gateway.images.images import Images
from services.gateway.images.limits import Limits, TrustedHost
from services.gateway.images.store import Store
from tests.unit.gateway.images.site import PNG, answer, site

OTHER = PNG + b"!"


def data_url(data=PNG):
    return "data:image/png;base64," + b64encode(data).decode()


def chat(*urls):
    parts = (TextPart(text="see"), *(ImagePart(url=url) for url in urls))
    return Chat(turns=(Turn(role="system", content="s"), Turn(role="user", content=parts)))


def fleet(*, upstream=None, **kinds):
    """A model of each name and kind, each on an engine of its own."""
    made = Fleet()
    for name, kind in kinds.items():
        card = ModelCard(id=name, context_length=10, kind=kind)
        beat = EngineBeat(
            engine=f"e-{name}",
            node="n",
            boot=name,
            pid=1,
            state="ready",
            models=(card,),
            upstream=upstream,
        )
        made.hear_engine(beat)
    return made


@pytest.fixture
async def images():
    made = Images(Limits(image_bytes=10_000, fetch_s=5))
    yield made
    await made.close()


async def test_prompts_come_out_with_hashes_and_the_bytes_are_there_for_so_long(images):
    async with images.held("eye", (chat(data_url()),), fleet(eye="vlm")) as prompts:
        (image,) = prompts[0].images
        assert image == ImagePart(
            digest=sha256(PNG).digest(), media_type="image/png", size=len(PNG)
        )
        assert prompts[0].turns[1].text == "see"
        assert images.store.find(image.digest) == PNG
    assert images.store.find(image.digest) is None
    assert images.store.used_bytes == 0


async def test_what_holds_no_picture_passes_untouched(images):
    prompts = (chat(), Text(text="x"))
    async with images.held("any", prompts, fleet(any="llm")) as same:
        assert same is prompts


async def test_a_picture_of_many_turns_and_requests_is_kept_once(images):
    seeing, asked = fleet(eye="vlm"), (chat(data_url(), data_url(), data_url(OTHER)),)
    async with images.held("eye", asked, seeing), images.held("eye", asked, seeing):
        assert images.store.used_bytes == len(PNG) + len(OTHER)
    assert images.store.used_bytes == 0


async def test_one_url_is_fetched_once():
    async with site(cat=answer()) as there:
        trusted = (TrustedHost("127.0.0.1", there.port),)
        images = Images(Limits(image_bytes=1000, fetch_s=5, trusted=trusted))
        url = f"http://127.0.0.1:{there.port}/cat"
        async with images.held("eye", (chat(url, url),), fleet(eye="vlm")) as prompts:
            assert len({image.digest for image in prompts[0].images}) == 1
        await images.close()
        assert there.asked == ["/cat"]


async def test_pictures_of_a_fallback_are_held_where_the_first_is_asked_in_other_words(images):
    first, others = (Text(text=""),), (chat(data_url()), chat(data_url()))
    async with images.held("any", first, fleet(any="llm"), alike=others) as prompts:
        assert prompts[0] is first[0]
        assert [image.digest for chat in prompts[1:] for image in chat.images] == [
            sha256(PNG).digest()
        ] * 2
    assert images.store.used_bytes == 0


async def test_what_only_a_fallback_would_need_and_nobody_has_is_its_own_matter(images):
    others = (chat("data:image/png;base64,AAAA"),)
    async with images.held("any", (Text(text=""),), fleet(any="llm"), alike=others) as prompts:
        assert prompts[1:] == others


async def refused(images, fleet, *urls, param="messages"):
    with pytest.raises(MeshError) as caught:
        async with images.held("eye", (chat(*urls),), fleet, param):
            pass
    assert images.store.used_bytes == 0
    assert caught.value.param == param
    return caught.value


async def test_a_text_model_is_not_shown_pictures_and_nothing_is_fetched(images):
    async with site(cat=answer()) as there:
        url = f"http://127.0.0.1:{there.port}/cat"
        error = await refused(images, fleet(eye="llm", sharp="vlm"), url)
        assert there.asked == []
    assert error.code is Code.UNSUPPORTED_PARAMETER
    assert "'eye' does not see images" in error.message
    assert "sharp" in error.message


async def test_where_no_model_sees_it_is_said_so(images):
    error = await refused(images, fleet(eye="embedder"), data_url())
    assert "No model here does" in error.message


@pytest.mark.parametrize("there", [fleet(), fleet(eye="llm", upstream="https://api.example")])
async def test_unknown_models_and_upstreams_are_asked_themselves(images, there):
    async with images.held("eye", (chat(data_url()),), there) as prompts:
        assert prompts[0].images[0].digest


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("data:image/png;base64,!", "Image 2 of 2: its base64 is broken"),
        (data_url(b"<html>"), "no picture that is known here"),
        ("data:image/png;base64,", "it is empty"),
        (data_url(PNG + bytes(10_000)), "more than 10000 bytes"),
        ("http://example.com/cat.png", "https only"),
        ("https://127.0.0.1/cat.png", "no public host"),
        ("cat.png", "neither https:// nor data:"),
    ],
)
async def test_the_picture_at_fault_is_named(images, url, why):
    error = await refused(images, fleet(eye="vlm"), data_url(), url, param="input")
    assert error.code is Code.INVALID_REQUEST
    assert error.message.startswith("Image 2 of 2: ")
    assert why in error.message


async def test_pictures_are_counted_before_any_is_fetched(images):
    error = await refused(images, fleet(eye="vlm"), *[f"https://127.0.0.1/{n}" for n in range(65)])
    assert "65 images, 64 are the most" in error.message


async def test_too_many_bytes_of_open_requests_are_refused_until_some_end(monkeypatch):
    monkeypatch.setattr(module, "STORED_BYTES", len(PNG) + 5)
    images, seeing = Images(Limits(image_bytes=1000, fetch_s=5)), fleet(eye="vlm")
    async with images.held("eye", (chat(data_url()),), seeing):
        with pytest.raises(MeshError) as caught:
            async with images.held("eye", (chat(data_url(OTHER)),), seeing):
                pass
        assert caught.value.code is Code.QUEUE_FULL
        assert caught.value.retry_after_s
    async with images.held("eye", (chat(data_url(OTHER)),), seeing):
        pass
    await images.close()


async def test_whoever_stops_waiting_leaves_nothing_behind():
    async with site(cat=lambda to: asyncio.Event().wait()) as there:
        trusted = (TrustedHost("127.0.0.1", there.port),)
        images = Images(Limits(image_bytes=1000, fetch_s=5, trusted=trusted))
        url = f"http://127.0.0.1:{there.port}/cat"

        async def hold():
            async with images.held("eye", (chat(data_url(), url),), fleet(eye="vlm")):
                pass

        holding = asyncio.create_task(hold())
        while not (images.store.used_bytes and there.asked):
            await asyncio.sleep(0)
        holding.cancel()
        await asyncio.gather(holding, return_exceptions=True)
        assert images.store.used_bytes == 0
        await images.close()


async def test_bytes_travel_in_pieces_and_are_checked(bus):
    gateway, kept = GatewayId(f"g.{fresh()}"), {}
    await blobs.give_out(bus, gateway, kept.get)
    await bus.settled()
    for size in (1, BLOB_PIECE, BLOB_PIECE + 1, 3 * BLOB_PIECE - 7):
        data = bytes(range(256)) * (size // 256 + 1)
        data = data[:size]
        image = ImagePart(digest=sha256(data).digest(), size=size)
        kept[image.digest] = data
        assert await blobs.fetch(bus, gateway, image) == data


async def test_a_picture_that_is_gone_or_damaged_is_an_error(bus):
    gateway, digest = GatewayId(f"g.{fresh()}"), sha256(b"good").digest()
    image = ImagePart(digest=digest, size=4)
    with pytest.raises(MeshError) as nobody:
        await blobs.fetch(bus, gateway, image)
    assert nobody.value.code is Code.BUS_UNAVAILABLE
    kept = {}
    await blobs.give_out(bus, gateway, kept.get)
    await bus.settled()
    with pytest.raises(MeshError) as gone:
        await blobs.fetch(bus, gateway, image)
    assert gone.value.code is Code.NOT_FOUND
    kept[digest] = b"evil"
    with pytest.raises(MeshError) as damaged:
        await blobs.fetch(bus, gateway, image)
    assert damaged.value.code is Code.INTERNAL


def test_a_store_forgets_with_its_last_holder():
    store = Store(10)
    store.keep(b"d", b"12345")
    store.keep(b"d", b"12345")
    store.let_go(b"d")
    assert store.find(b"d") == b"12345"
    store.let_go(b"d")
    assert store.find(b"d") is None
    assert store.used_bytes == 0
