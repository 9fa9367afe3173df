"""From the documents of a request to what upstreams get, and who refuses them."""

from base64 import b64encode
from collections.abc import AsyncIterator
from hashlib import sha256

import pytest

from bus.fleet import Fleet
from proto.errors import Code, MeshError
from proto.presence import EngineBeat, ModelCard
from proto.prompt import Chat, DocumentPart, Turn
from services.gateway.images.images import Images
from services.gateway.images.limits import Limits

PDF = b"%PDF-1.7 calm seas"


def data_url(data: bytes = PDF, kind: str = "application/pdf") -> str:
    return f"data:{kind};base64," + b64encode(data).decode()


def chat(*documents: DocumentPart) -> Chat:
    return Chat(turns=(Turn(role="user", content=documents),))


def fleet(upstream: str | None) -> Fleet:
    made = Fleet()
    card = ModelCard(id="reader", context_length=10)
    beat = EngineBeat(
        engine="e", node="n", boot="b", pid=1, state="ready", models=(card,), upstream=upstream
    )
    made.hear_engine(beat)
    return made


@pytest.fixture
async def images() -> AsyncIterator[Images]:
    made = Images(Limits(image_bytes=10_000, fetch_s=5))
    yield made
    await made.close()


async def refused(images: Images, document: DocumentPart, upstream: str | None) -> MeshError:
    with pytest.raises(MeshError) as caught:
        async with images.held("reader", (chat(document),), fleet(upstream)):
            pass
    return caught.value


async def test_a_document_is_held_by_its_hash_and_keeps_its_name_and_mark(images: Images) -> None:
    asked = chat(DocumentPart(url=data_url(), title="sea.pdf", context="old", cache="1h"))
    digest = sha256(PDF).digest()

    async with images.held("reader", (asked,), fleet("http://up")) as (held,):
        assert isinstance(held, Chat)
        assert held.documents == (
            DocumentPart(
                digest=digest,
                media_type="application/pdf",
                size=len(PDF),
                title="sea.pdf",
                context="old",
                cache="1h",
            ),
        )
        assert images.store.find(digest) == PDF
    assert images.store.used_bytes == 0


async def test_what_the_upstream_fetches_or_has_is_only_named(images: Images) -> None:
    asked = chat(DocumentPart(url="https://x/y.pdf"), DocumentPart(file_id="file_1"))

    async with images.held("reader", (asked,), fleet("http://up")) as (held,):
        assert held == asked


async def test_a_model_of_ours_reads_no_documents(images: Images) -> None:
    error = await refused(images, DocumentPart(url=data_url()), None)

    assert (error.code, error.param) == (Code.UNSUPPORTED_PARAMETER, "messages")
    assert "does not read documents" in error.message


@pytest.mark.parametrize(
    ("url", "why"),
    [
        (data_url(b"GIF89a"), "its bytes are no PDF"),
        (data_url(kind="text/html"), "send one of application/pdf"),
        (data_url(PDF + bytes(10_000)), "more than 10000 bytes"),
    ],
)
async def test_what_is_no_document_is_refused_by_its_place(
    images: Images, url: str, why: str
) -> None:
    error = await refused(images, DocumentPart(url=url), "http://up")

    assert error.message.startswith("Document 1 of 1: ")
    assert why in error.message
