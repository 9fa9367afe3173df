"""A machine on loopback that answers as one make of engine documents, and keeps what it heard."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web
from aiohttp.test_utils import TestServer

Answers = dict[str, Any]
"""By path with its query: JSON, or what makes it of the JSON that was posted."""


@dataclass
class Box:
    answers: Answers
    root: str = ""
    heard: list[tuple[str, Any]] = field(default_factory=list)
    """Path and body of what was posted."""
    headers: list[dict[str, str]] = field(default_factory=list)
    got: list[str] = field(default_factory=list)
    """Paths of what was asked for without a body."""
    hangs_up: bool = False
    """As a machine does that has just lost its server."""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self.answer)
        return app

    def posted(self, path: str) -> list[Any]:
        return [body for heard, body in self.heard if heard == path]

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        path = request.raw_path
        if self.hangs_up:
            assert request.transport, "it is connected"
            request.transport.abort()
        if request.method == "GET":
            self.got.append(path)
        asked = msgspec.json.decode(await request.read()) if request.method == "POST" else None
        if asked is not None:
            self.heard.append((path, asked))
        if path.endswith("/chat/completions") and path in self.answers:
            return await _stream(request, self.answers[path])
        if path not in self.answers:
            return web.Response(status=404, text="Not Found")
        told = self.answers[path]
        told = told(asked) if isinstance(told, Callable) else told  # type: ignore[arg-type]
        if isinstance(told, web.Response):
            return told
        return web.Response(body=msgspec.json.encode(told), content_type="application/json")


async def _stream(request: web.Request, pieces: Any) -> web.StreamResponse:
    """Of pieces, or of what waits for them."""
    if not isinstance(pieces, list):
        pieces = await pieces()
    answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
    await answer.prepare(request)
    for piece in pieces:
        event = {"choices": [{"index": 0, "delta": {"content": piece}}]}
        await answer.write(b"data: " + msgspec.json.encode(event) + b"\n\n")
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    await answer.write(b"data: " + msgspec.json.encode(end) + b"\n\ndata: [DONE]\n\n")
    return answer


@asynccontextmanager
async def box(answers: Answers) -> AsyncIterator[Box]:
    told = Box(answers)
    async with TestServer(told.app()) as server:
        told.root = f"http://127.0.0.1:{server.port}"
        yield told


CHAT = "/v1/chat/completions"


def listed(*entries: Any) -> dict[str, Any]:
    return {"object": "list", "data": list(entries)}


OLLAMA: Answers = {
    "/api/version": {"version": "0.12.3"},
    "/api/tags": {
        "models": [
            {
                "name": "qwen3:8b", "model": "qwen3:8b", "size": 5_000, "digest": "d1",
                "details": {"family": "qwen3", "quantization_level": "Q4_K_M"},
            },
            {"name": "bge:latest", "model": "bge:latest", "size": 90, "digest": "d2"},
        ]
    },
    "/api/ps": {"models": [{"name": "qwen3:8b", "context_length": 4096}]},
    "/api/show": lambda asked: {
        "qwen3:8b": {
            "capabilities": ["completion", "tools", "thinking"],
            "model_info": {"general.architecture": "qwen3", "qwen3.context_length": 40_960},
        },
        "bge:latest": {
            "capabilities": ["embedding"],
            "model_info": {"general.architecture": "bert", "bert.context_length": 512},
        },
    }[asked["model"]],
    "/api/generate": {"done": True},
    CHAT: ["Calm", " seas"],
}  # fmt: skip
LMSTUDIO: Answers = {
    "/api/v1/models": {
        "models": [
            {
                "type": "llm", "publisher": "google", "key": "gemma-3", "architecture": "gemma3",
                "quantization": {"name": "Q4_0", "bits_per_weight": 4}, "size_bytes": 2_414,
                "loaded_instances": [{"id": "gemma-3:2", "config": {"context_length": 4096}}],
                "max_context_length": 32_768, "format": "gguf",
                "capabilities": {"vision": True, "trained_for_tool_use": True},
            },
            {
                "type": "embedding", "publisher": "gaia", "key": "nomic", "size_bytes": 274,
                "quantization": None, "loaded_instances": [], "max_context_length": 2048,
                "format": "gguf",
            },
        ]
    },
    "/api/v1/models/load": {"model_instance_id": "nomic", "load_time_seconds": 1.0},
    "/api/v1/models/unload": {"instance_id": "gemma-3:2"},
}  # fmt: skip
OLDER_LMSTUDIO: Answers = {
    "/api/v0/models": listed(
        {
            "id": "qwen2-vl", "object": "model", "type": "vlm", "arch": "qwen2_vl",
            "quantization": "4bit", "state": "not-loaded", "max_context_length": 32_768,
        }
    )
}  # fmt: skip
VLLM: Answers = {
    "/version": {"version": "0.12.0"},
    "/v1/models": listed(
        {
            "id": "Qwen/Qwen3-8B", "object": "model", "created": 7, "owned_by": "vllm",
            "root": "Qwen/Qwen3-8B", "parent": None, "max_model_len": 40_960,
        }
    ),
    CHAT: ["Calm"],
}  # fmt: skip
OLDER_VLLM: Answers = {**VLLM, "/version": {"version": "0.9.2.post1"}}
LLAMACPP: Answers = {
    "/props": {
        "default_generation_settings": {"id": 0, "n_ctx": 8192}, "total_slots": 4,
        "modalities": {"vision": False}, "chat_template_caps": {"supports_tools": True},
        "build_info": "b6999-abc",
    },
    "/v1/models": listed(
        {
            "id": "qwen.gguf", "object": "model", "created": 9, "owned_by": "llamacpp",
            "meta": {"n_ctx_train": 131_072, "size": 4_912},
        }
    ),
    "/api/tags": {"models": []},
}  # fmt: skip
ROUTER: Answers = {
    "/props": {"role": "router", "build_info": "b7200-def"},
    "/v1/models": listed(
        {"id": "a:Q4", "object": "model", "status": {"value": "loaded"}},
        {"id": "b:Q4", "object": "model", "status": {"value": "unloaded"}},
    ),
    "/props?model=a:Q4": {
        "default_generation_settings": {"n_ctx": 4096}, "modalities": {"vision": True},
    },
    "/models/load": {"success": True},
    "/models/unload": {"success": True},
}  # fmt: skip
LLAMA_CPP_PYTHON: Answers = {
    "/openapi.json": {"info": {"title": "🦙 llama.cpp Python API", "version": "0.3.16"}},
    "/v1/models": listed({"id": "tiny", "object": "model", "owned_by": "me", "permissions": []}),
    CHAT: ["Calm"],
}
MLX_LM: Answers = {
    "/health": {"status": "ok"},
    "/v1/models": listed({"id": "/models/tiny", "object": "model", "created": 5}),
    CHAT: ["Calm"],
}
CONTRACT = "/.well-known/inference-engine.json"
TELEMAK: Answers = {
    CONTRACT: {
        "engine": "telemak", "version": "1.2",
        "capabilities": {"stream": True, "tools": True, "max_context": 32_768},
        "models": [
            {"id": "qwen3-8b", "x_telemak": {"size_gb": 4.0, "kind": "llm"}},
            {"id": "bge-m3", "x_telemak": {"size_gb": 0.5, "kind": "embedder"}},
        ],
    },
    "/admin/load": {"ok": True},
    "/admin/unload": {"ok": True},
}  # fmt: skip
ODYSSAI_X: Answers = {
    CONTRACT: {"name": "OdyssAI-X", "vendor": "odyssai.eu", "version": "0.7.3", "features": []},
    "/v1/models?include_unloaded=true": listed(
        {
            "id": "glm-4.7", "object": "model", "created": 3, "owned_by": "odyssai-alpha",
            "x_odyssai": {"ready": True, "context_length": 8192, "supports_tools": True},
        },
        {
            "id": "kimi", "object": "model", "created": 3, "owned_by": "odyssai-beta",
            "x_odyssai": {"ready": False, "admin_loadable": True},
        },
    ),
    "/admin/clusters/beta/load": {"ok": True},
    "/admin/clusters/alpha/unload?alias=glm-4.7": {"ok": True},
    CHAT: ["One, tw", "o. Thr", "ee"],
}  # fmt: skip


def _ours(**told: Any) -> dict[str, Any]:
    plain = {
        "ready": True, "loaded": True, "loading": False, "kind": "llm", "context_length": 4096,
        "family": "llama", "quantization": "4bit", "size_bytes": 5, "supports_tools": True,
        "supports_reasoning": False, "supports_json_mode": True, "embedding_size": 0,
        "admin_loadable": False, "alias_for": None, "hops": 0,
    }  # fmt: skip
    return plain | told


MESH: Answers = {
    CONTRACT: {
        "engine": "odyssai-mesh", "name": "odyssai-mesh", "vendor": "odyssai.eu", "version": "0.2",
        "limits": {"max_concurrent_requests": 12}, "models": [],
    },
    "/v1/models?include_unloaded=true": listed(
        {"id": "tiny", "created": 1, "x_odyssai": _ours()},
        {
            "id": "stored", "created": 1,
            "x_odyssai": _ours(ready=False, loaded=False, admin_loadable=True),
        },
        {"id": "small", "created": 1, "x_odyssai": _ours(alias_for="tiny")},
        {"id": "third:tiny", "created": 1, "x_odyssai": _ours(hops=1)},
        {"id": "lost", "created": 1, "x_odyssai": _ours(ready=False, loaded=False)},
    ),
    "/admin/models/load": {"state": "done"},
    "/admin/models/unload": {"state": "done"},
    CHAT: ["Calm"],
}  # fmt: skip


@contextmanager
def running(answers: Answers, port: int = 0) -> Iterator[Box]:
    """The same beside tests that know no event loop."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    told = Box(answers)
    server = TestServer(told.app(), port=port or None)
    try:
        asyncio.run_coroutine_threadsafe(server.start_server(), loop).result()
        told.root = f"http://127.0.0.1:{server.port}"
        yield told
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
