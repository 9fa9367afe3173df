"""What servers of Anthropic's protocol say in ways of their own."""

from typing import Any

import msgspec

from proto.frames import Usage
from services.cloud.anthropic.events import Answer, read
from services.cloud.piece import CallPiece, Piece


def pieces(*events: dict[str, Any]) -> list[Piece | None]:
    answer = Answer()
    return [answer.pieces(read(msgspec.json.encode(event))) for event in events]


def test_a_call_may_be_whole_from_the_beginning() -> None:
    block = {"type": "tool_use", "id": "c", "name": "look", "input": {"at": "sea"}}

    assert pieces(
        {"type": "content_block_start", "index": 3, "content_block": block},
        {"type": "content_block_stop", "index": 3},
    ) == [Piece(calls=(CallPiece(3, "c", "look", '{"at":"sea"}'),)), None]


def test_usage_is_counted_from_the_beginning_and_what_is_not_said_stays() -> None:
    first = {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1}

    _, last = pieces(
        {"type": "message_start", "message": {"usage": first}},
        {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 9}},
    )

    assert last is not None
    assert last.usage == Usage(7, 9, 2)


def test_what_nobody_knows_yet_says_nothing() -> None:
    server = {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {}}
    delta = {"type": "input_json_delta", "partial_json": "{}"}

    assert (
        pieces(
            {"type": "ping"},
            {"type": "content_block_start", "index": 0, "content_block": server},
            {"type": "content_block_delta", "index": 0, "delta": delta},
            {"type": "content_block_delta", "index": 0, "delta": {"type": "citations_delta"}},
            {"type": "content_block_stop", "index": 0},
            {"type": "news", "index": 7},
        )
        == [None] * 6
    )
