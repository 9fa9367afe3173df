"""What the SDK gets from /v1/responses: whole, streamed, parsed; exact to the frame."""

import json

import openai as openai_sdk
import pydantic
import pytest

from proto.errors import Code
from proto.frames import (
    CallDelta,
    Delta,
    End,
    Failed,
    PositionLogprobs,
    Progress,
    Timings,
    TokenLogprob,
    Usage,
)
from proto.inference import JsonObject, JsonSchema, Tool, ToolChoice
from tests.unit.gateway.scripted import ALIAS, MODEL, deltas, end

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "Of a city.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Edits files."}


def telling(*frames):
    """A script that sends these frames, whatever is asked."""

    async def script(engine, asked):
        engine.send(asked, Progress(asked.epoch, 0, 10, 10, 4))
        engine.send(asked, *(type(f)(asked.epoch, n, *list(f)[2:]) for n, f in numbered(frames)))

    return script


def numbered(frames):
    import msgspec

    return [(n, msgspec.structs.astuple(f) and _Fields(f)) for n, f in enumerate(frames, 1)]
