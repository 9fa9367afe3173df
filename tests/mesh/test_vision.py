"""Pictures through the whole mesh: data URLs and fetched ones, turns that come back, refusals."""

import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

pytest.importorskip("mlx_vlm", reason="the extra `vision` is not installed")

from tests.mesh.fixtures import OwnMesh
from tests.mesh.house import Mesh
from tests.tiny_vlm import make_tiny_vlm
from tests.unit.engine.vision.pictures import png, saved

pytestmark = pytest.mark.timeout(120)

A, B = png(1), png(2)


class Site:
    """Serves pictures by their path, on loopback."""

    def __init__(self, pages: dict[str, bytes]) -> None:
        asked = self.asked = []  # type: list[str]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                body = pages.get(self.path)
                self.send_response(200 if body else 404)
                self.send_header("content-type", "image/png")
                self.send_header("content-length", str(len(body or b"")))
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    made = Site({"/a.png": A, "/b.png": B})
    yield made
    made.close()


@pytest.fixture(scope="module")
def mesh(
    start_mesh: OwnMesh, site: Site, tiny_model: Path, tmp_path_factory: pytest.TempPathFactory
) -> Mesh:
    """It holds ``tiny``, which reads, and ``eyed``, which sees as well."""
    folder = make_tiny_vlm(tmp_path_factory.mktemp("models") / "eyed")
    mesh = start_mesh(tiny_model, folder, told={"ODYSSAI_IMAGE_HOSTS": site.host})
    return mesh.wait_until_it_serves(["tiny", "eyed"])


def data_url(data: bytes) -> str:
    return "data:image/png;base64," + b64encode(data).decode()


def asked(*urls: str) -> list[dict[str, Any]]:
    pictures = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, *pictures]}]


def answer(gpt: openai.OpenAI, messages: Any, model: str = "eyed") -> Any:
    return gpt.chat.completions.create(
        model=model, messages=messages, max_tokens=16, temperature=0, logprobs=True
    )


def said(completion: Any) -> list[str]:
    return [entry.token for entry in completion.choices[0].logprobs.content]


def test_a_picture_is_seen_however_it_is_named(gpt: openai.OpenAI, site: Site) -> None:
    inline, other = answer(gpt, asked(data_url(A))), answer(gpt, asked(data_url(B)))
    fetched = answer(gpt, asked(f"http://{site.host}/a.png"))
    assert said(inline) == said(fetched) != said(other)
    assert inline.usage.prompt_tokens > 35
    assert "/a.png" in site.asked


def test_the_next_turn_reads_nothing_twice(gpt: openai.OpenAI) -> None:
    messages = asked(data_url(png(5)))
    first = answer(gpt, messages)
    messages += [
        {"role": "assistant", "content": first.choices[0].message.content},
        {"role": "user", "content": "And now?"},
    ]
    second = answer(gpt, messages)
    cached = second.usage.prompt_tokens_details.cached_tokens
    assert cached >= first.usage.prompt_tokens - 1


def test_a_large_picture_travels_in_pieces(gpt: openai.OpenAI) -> None:
    large = png(7, 1400, 1000)
    assert len(large) > 4_000_000
    assert answer(gpt, asked(data_url(large))).usage.completion_tokens == 16


def test_a_stream_is_the_same_answer(gpt: openai.OpenAI) -> None:
    messages: Any = asked(data_url(A))
    stream = gpt.chat.completions.create(
        model="eyed", messages=messages, max_tokens=16, temperature=0, stream=True
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == answer(gpt, messages).choices[0].message.content


def refusal(gpt: openai.OpenAI, url: str, model: str = "eyed") -> str:
    with pytest.raises(openai.BadRequestError) as refused:
        answer(gpt, asked(data_url(A), url), model)
    return refused.value.body["message"]  # type: ignore[index,no-any-return]


def test_pictures_that_cannot_be_had_are_refused_by_name(gpt: openai.OpenAI, site: Site) -> None:
    assert "answered 404" in refusal(gpt, f"http://{site.host}/none.png")
    assert "no public host" in refusal(gpt, "https://127.0.0.1/a.png")
    assert "https only" in refusal(gpt, "http://example.com/a.png")
    assert "Image 2 of 2" in refusal(gpt, "data:image/png;base64,AAAA")


def test_what_only_looks_like_a_picture_is_refused_by_the_engine(gpt: openai.OpenAI) -> None:
    from PIL import Image

    cut = refusal(gpt, data_url(png(9)[:200]))
    assert cut.startswith("Image 2 of 2 cannot be read")
    bomb = saved(Image.new("1", (12_000, 12_000)))
    assert len(bomb) < 50_000
    assert "12000 x 12000 pixels" in refusal(gpt, data_url(bomb))


def test_a_text_model_says_who_sees(gpt: openai.OpenAI) -> None:
    message = refusal(gpt, data_url(A), model="tiny")
    assert "does not see images" in message
    assert "eyed" in message


def test_models_say_whether_they_see(http: httpx.Client) -> None:
    listed = {entry["id"]: entry["x_odyssai"] for entry in http.get("/v1/models").json()["data"]}
    assert listed["eyed"]["modalities"] == ["text", "image"]
    assert listed["eyed"]["supports_vision"]
    assert listed["eyed"]["kind"] == "vlm"
    assert listed["tiny"]["modalities"] == ["text"]
    assert not listed["tiny"]["supports_vision"]


def test_text_alone_is_answered_as_ever(gpt: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Only <|image_pad|> words."}]
    assert answer(gpt, messages).usage.completion_tokens == 16


def inline(data: bytes) -> dict[str, Any]:
    source = {"type": "base64", "media_type": "image/png", "data": b64encode(data).decode()}
    return {"type": "image", "source": source}


def test_anthropics_pictures_are_seen_also_in_a_tools_result(
    claude: anthropic.Anthropic, site: Site
) -> None:
    url = {"type": "image", "source": {"type": "url", "url": f"http://{site.host}/a.png"}}
    text = {"type": "text", "text": "What is it?"}

    def said(*content: Any) -> Any:
        messages: Any = [{"role": "user", "content": list(content)}]
        return claude.messages.create(
            model="eyed", max_tokens=12, messages=messages, extra_body={"temperature": 0}
        )

    assert said(text, inline(A)).content == said(text, url).content != said(text, inline(B)).content
    call: Any = {"type": "tool_use", "id": "t1", "name": "shot", "input": {}}
    result: Any = {"type": "tool_result", "tool_use_id": "t1", "content": [inline(A)]}
    messages: Any = [
        {"role": "user", "content": "Take a shot."},
        {"role": "assistant", "content": [call]},
        {"role": "user", "content": [result]},
    ]
    tools: Any = [{"name": "shot", "input_schema": {"type": "object"}}]
    blind: Any = [*messages[:2], {"role": "user", "content": [result | {"content": "shot"}]}]
    plain = claude.messages.count_tokens(model="eyed", messages=blind, tools=tools)
    shown = claude.messages.count_tokens(model="eyed", messages=messages, tools=tools)
    assert shown.input_tokens > plain.input_tokens + 30
    answered = claude.messages.create(
        model="eyed", max_tokens=5, messages=messages, tools=tools, extra_body={"temperature": 0}
    )
    assert answered.usage.input_tokens + (answered.usage.cache_read_input_tokens or 0) == (
        shown.input_tokens
    )


def test_responses_show_pictures_and_name_their_own_field(gpt: openai.OpenAI) -> None:
    def ask(url: str, **rest: Any) -> Any:
        said: Any = [
            {"type": "input_text", "text": "What is it?"},
            {"type": "input_image", "image_url": url, "detail": "auto"},
        ]
        messages: Any = [{"role": "user", "content": said}]
        return gpt.responses.create(
            model="eyed", input=messages, max_output_tokens=16, temperature=0, **rest
        )

    first = ask(data_url(A))
    assert first.output_text != ask(data_url(B)).output_text
    again = gpt.responses.create(
        model="eyed",
        input="And now?",
        previous_response_id=first.id,
        max_output_tokens=16,
        truncation="auto",
    )
    assert again.usage.input_tokens_details.cached_tokens >= first.usage.input_tokens - 1
    with pytest.raises(openai.BadRequestError) as refused:
        ask("https://10.0.0.1/a.png")
    assert refused.value.param == "input"


def test_ollamas_pictures_are_seen(http: httpx.Client) -> None:
    def ask(data: bytes) -> str:
        message = {"role": "user", "content": "See", "images": [b64encode(data).decode()]}
        body = {"model": "eyed", "messages": [message], "stream": False}
        options = {"temperature": 0, "num_predict": 12}
        answer = http.post("/api/chat", json=body | {"options": options})
        assert answer.status_code == 200, answer.text
        content: str = answer.json()["message"]["content"]
        return content

    assert ask(A) == ask(A) != ask(B)


def test_a_prompt_with_a_picture_can_be_tokenised(http: httpx.Client) -> None:
    answer = http.post("/tokenize", json={"model": "eyed", "messages": asked(data_url(A))})
    assert answer.status_code == 200, answer.text
    assert answer.json()["count"] > 35
