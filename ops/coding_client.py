"""How each coding tool is pointed at a mesh: by its environment and its arguments.

Nothing is written into anybody's configuration files, so that the tool is itself
again when it is started without us.
"""

import json
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

TOKEN = "odyssai"
"""What tools send as their key, where the mesh asks for none: they insist on one."""


@dataclass(frozen=True)
class Model:
    """A model of the mesh that chats, as /v1/models tells."""

    id: str
    context_length: int
    """Tokens; 0 where the mesh does not know."""
    max_output_tokens: int
    calls_tools: bool


@dataclass(frozen=True)
class Served:
    """A mesh, and which of its models is to be used."""

    url: str
    """Without /v1 and without a slash at its end."""
    model: Model
    models: tuple[Model, ...]
    key: str = TOKEN


@dataclass(frozen=True)
class Launch:
    """A program with all it needs to know."""

    argv: tuple[str, ...]
    sets: dict[str, str]
    unsets: tuple[str, ...] = ()
    """What would lead it elsewhere."""

    def environment(self, of: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in of.items() if name not in self.unsets}
        return kept | self.sets

    def shell(self) -> str:
        """The same as lines for a shell."""
        lines = [f"unset {' '.join(self.unsets)}"] if self.unsets else []
        lines += [f"export {name}={shlex.quote(value)}" for name, value in self.sets.items()]
        return "\n".join([*lines, shlex.join(self.argv)])


@dataclass(frozen=True)
class CodingClient:
    name: str
    install: str
    """A command that brings the program."""
    start: Callable[[Served, Sequence[str]], Launch]


def claude(mesh: Served, passed_on: Sequence[str]) -> Launch:
    """https://code.claude.com/docs/en/settings and /en/llm-gateway: every kind of model it asks
    for is the one model.
    """
    model = mesh.model
    return Launch(
        argv=("claude", *passed_on),
        sets={
            "ANTHROPIC_BASE_URL": mesh.url,
            "ANTHROPIC_AUTH_TOKEN": mesh.key,
            "ANTHROPIC_MODEL": model.id,
            "ANTHROPIC_DEFAULT_OPUS_MODEL": model.id,
            "ANTHROPIC_DEFAULT_SONNET_MODEL": model.id,
            "ANTHROPIC_DEFAULT_HAIKU_MODEL": model.id,
            "ANTHROPIC_SMALL_FAST_MODEL": model.id,
            "CLAUDE_CODE_SUBAGENT_MODEL": model.id,
            **_claude_context(model.context_length),
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
            # The line that changes with every request; meshes leave it out, too.
            "CLAUDE_CODE_ATTRIBUTION_HEADER": "0",
        },
        unsets=(
            "ANTHROPIC_API_KEY",
            "CLAUDE_CODE_USE_BEDROCK",
            "CLAUDE_CODE_USE_VERTEX",
            "CLAUDE_CODE_USE_FOUNDRY",
        ),
    )


def _claude_context(tokens: int) -> dict[str, str]:
    """It shortens the conversation in time only when it knows the size."""
    names = ("CLAUDE_CODE_MAX_CONTEXT_TOKENS", "CLAUDE_CODE_AUTO_COMPACT_WINDOW")
    return dict.fromkeys(names, str(tokens)) if tokens else {}


def codex(mesh: Served, passed_on: Sequence[str]) -> Launch:
    """https://developers.openai.com/codex/config-reference: every -c is one line of TOML."""
    provider = "model_providers.odyssai"
    settings: dict[str, str | int] = {
        "model": mesh.model.id,
        "model_provider": "odyssai",
        f"{provider}.name": "odyssai",
        f"{provider}.base_url": f"{mesh.url}/v1",
        f"{provider}.wire_api": "responses",
        f"{provider}.env_key": "OPENAI_API_KEY",
    }
    if mesh.model.context_length:
        settings["model_context_window"] = mesh.model.context_length
    # A JSON string is a TOML string as well.
    flags = [
        part
        for name, value in settings.items()
        for part in ("-c", f"{name}={json.dumps(value, ensure_ascii=False)}")
    ]
    return Launch(argv=("codex", *flags, *passed_on), sets={"OPENAI_API_KEY": mesh.key})


def opencode(mesh: Served, passed_on: Sequence[str]) -> Launch:
    """https://opencode.ai/docs/config: this variable is merged over all files."""
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "odyssai",
        "options": {"baseURL": f"{mesh.url}/v1", "apiKey": mesh.key},
        "models": {model.id: {"name": model.id, **_limit(model)} for model in mesh.models},
    }
    chosen = f"odyssai/{mesh.model.id}"
    config = {
        "$schema": "https://opencode.ai/config.json",
        "provider": {"odyssai": provider},
        "model": chosen,
        "small_model": chosen,
    }
    return Launch(
        argv=("opencode", *passed_on),
        sets={"OPENCODE_CONFIG_CONTENT": json.dumps(config, ensure_ascii=False)},
    )


def _limit(model: Model) -> dict[str, dict[str, int]]:
    if not model.context_length:
        return {}
    return {"limit": {"context": model.context_length, "output": model.max_output_tokens}}


CLIENTS = {
    client.name: client
    for client in (
        CodingClient("claude", "npm install -g @anthropic-ai/claude-code", claude),
        CodingClient("codex", "npm install -g @openai/codex", codex),
        CodingClient("opencode", "npm install -g opencode-ai", opencode),
    )
}
