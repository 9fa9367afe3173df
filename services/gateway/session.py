"""Which conversation a request belongs to: the one place that decides.

Its cache is kept longest, and its requests go to the same engine. The first
name that is there counts, from the most explicit to the most incidental.
"""

import re
from collections.abc import Mapping

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from proto.dialects.asked import Asked
from proto.ids import SessionId

OURS = b"x-session-id"
CLAUDE_CODE = b"x-claude-code-session-id"
"""Since 2.1.86."""
CLAUDE_CODE_AGENT = b"x-claude-code-agent-id"
"""Since 2.1.139, of subagents: each has a conversation of its own within the session."""
OTHERS = (
    # Codex: a thread is one conversation of a session. Its older versions wrote underscores.
    b"thread-id", b"thread_id", b"session-id", b"session_id", b"conversation_id",
    # opencode.
    b"x-opencode-session", b"x-session-affinity",
)  # fmt: skip

_CLAUDE_USER = re.compile(r"user_.*_session_([0-9A-Za-z-]+)")
"""Claude Code until 2.1.77: a hash of the user, an account and the session, in one word."""


class _ClaudeUser(Struct):
    """Claude Code since 2.1.78 writes this, as JSON, into ``metadata.user_id``."""

    session_id: str


_decoder = msgspec.json.Decoder(_ClaudeUser)


def in_session(asked: Asked, headers: Mapping[bytes, bytes]) -> Asked:
    """With the session that the headers name, else the body; every name as it is, but for
    Claude Code's, which holds more than the session.
    """
    named = _in_headers(headers) or _of_user(asked.session or "")
    return replace(asked, session=SessionId(named) if named else None)


def _in_headers(headers: Mapping[bytes, bytes]) -> str:
    if ours := _value(headers, OURS):
        return ours
    if session := _value(headers, CLAUDE_CODE):
        agent = _value(headers, CLAUDE_CODE_AGENT)
        return f"{session}/{agent}" if agent else session
    return next(filter(None, (_value(headers, name) for name in OTHERS)), "")


def _value(headers: Mapping[bytes, bytes], name: bytes) -> str:
    return headers.get(name, b"").decode("latin-1").strip()


def _of_user(name: str) -> str:
    if found := _CLAUDE_USER.fullmatch(name):
        return found[1]
    if name.startswith("{"):
        try:
            return _decoder.decode(name).session_id or name
        except (msgspec.DecodeError, RecursionError):
            return name
    return name
