"""What runs at an address: every make by the endpoints that it documents."""

import pytest
from aiohttp import web

from proto.enrolment import Recognise
from proto.errors import Code, MeshError
from services.cloud.engines import probe as bounds
from services.cloud.engines.recognising import recognise
from tests.unit.cloud.engines import box as boxes
from tests.unit.cloud.engines.box import Answers, box, listed

MAKES: list[tuple[Answers, str, str, int | None]] = [
    (boxes.OLLAMA, "ollama", "0.12.3", None),
    (boxes.LMSTUDIO, "lmstudio", "0.4 or newer", None),
    (boxes.OLDER_LMSTUDIO, "lmstudio", "", None),
    (boxes.VLLM, "vllm", "0.12.0", None),
    (boxes.LLAMACPP, "llamacpp", "b6999-abc", 4),
    (boxes.ROUTER, "llamacpp", "b7200-def", None),
    (boxes.LLAMA_CPP_PYTHON, "llama-cpp-python", "0.3.16", 1),
    (boxes.MLX_LM, "mlx-lm", "", None),
    (boxes.TELEMAK, "telemak", "1.2", None),
    (boxes.ODYSSAI_X, "odyssai", "0.7.3", None),
    (boxes.MESH, "mesh", "0.2", 12),
]


@pytest.mark.parametrize(("answers", "kind", "version", "slots"), MAKES)
@pytest.mark.parametrize("suffix", ["", "/v1/"])
async def test_each_make_is_known_by_its_own_endpoints(
    answers: Answers, kind: str, version: str, slots: int | None, suffix: str
) -> None:
    async with box(answers) as engine:
        told = await recognise(Recognise(url=engine.root + suffix))

        assert (told.kind, told.version, told.slots) == (kind, version, slots)
        assert told.url == f"{engine.root}/v1"
        assert told.models


async def test_what_only_speaks_openai_is_taken_for_that() -> None:
    async with box({"/v1/models": listed({"id": "m", "object": "model", "owned_by": "me"})}) as it:
        told = await recognise(Recognise(url=it.root))

    assert (told.kind, [card.id for card in told.models]) == ("openai-compatible", ["m"])


async def test_what_is_no_engine_is_refused_as_that() -> None:
    async with box({"/": {"hello": "world"}}) as it:
        with pytest.raises(MeshError, match="no models at /v1/models") as refused:
            await recognise(Recognise(url=it.root))

    assert refused.value.code is Code.NOT_FOUND


async def test_nobody_there_is_said_as_that() -> None:
    async with box({}) as it:
        root = it.root

    with pytest.raises(MeshError, match="cannot be reached"):
        await recognise(Recognise(url=root))


async def test_a_key_is_shown_and_its_lack_is_told() -> None:
    def guarded(_: object) -> web.Response:
        return web.Response(status=401)

    async with box({boxes.CONTRACT: guarded}) as it:
        with pytest.raises(MeshError, match="wants a key"):
            await recognise(Recognise(url=it.root, key="secret"))

        assert it.headers[0]["authorization"] == "Bearer secret"


@pytest.mark.parametrize("url", ["http://me:secret@box:1", "http://secret@box:1"])
async def test_an_address_with_a_password_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(MeshError, match="--key") as refused:
        await recognise(Recognise(url=url))

    assert "secret" not in refused.value.message
    assert refused.value.param == "url"


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "http://box:99999999", "ftp://b"])
async def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(MeshError, match="no address"):
        await recognise(Recognise(url=url))


async def test_nobody_is_led_to_another_address() -> None:
    async with box(boxes.OLLAMA) as other:

        def elsewhere(_: object) -> web.Response:
            return web.Response(status=302, headers={"location": f"{other.root}/api/version"})

        async with box({"/api/version": elsewhere}) as it:
            with pytest.raises(MeshError):
                await recognise(Recognise(url=it.root))

        assert not other.headers


async def test_an_answer_that_does_not_end_is_not_read_to_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "LARGEST", 1 << 16)
    async with box({boxes.CONTRACT: {"engine": "x" * (1 << 17)}}) as it:
        with pytest.raises(MeshError, match="larger than"):
            await recognise(Recognise(url=it.root))
