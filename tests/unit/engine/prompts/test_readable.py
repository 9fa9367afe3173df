"""What of a prompt a model here is shown."""

import pytest

from proto.errors import Code, MeshError
from proto.prompt import Chat, DocumentPart, ImagePart, Text, TextPart, Thought, Tool, Turn
from services.runner.engine.prompts.readable import readable


def test_what_is_for_upstreams_only_is_left_out() -> None:
    picture = ImagePart(digest=b"d", cache="5m")
    marked = Chat(
        turns=(
            Turn(role="system", content=(TextPart(text="a", cache="1h"), TextPart(text="b"))),
            Turn(
                role="user", content=(TextPart(text="c", cache="5m"), TextPart(text="d"), picture)
            ),
            Turn(
                role="assistant",
                content="e",
                reasoning="Hm.",
                thoughts=(Thought(text="Hm.", signature="s"),),
                cache="5m",
            ),
        ),
        tools=(Tool(name="t", cache="5m"),),
        cache="5m",
    )

    assert readable(marked, "m") == Chat(
        turns=(
            Turn(role="system", content="a\nb"),
            Turn(role="user", content=(TextPart(text="c\nd"), ImagePart(digest=b"d"))),
            Turn(role="assistant", content="e", reasoning="Hm."),
        ),
        tools=(Tool(name="t"),),
    )


def test_documents_are_refused_by_name_and_other_prompts_are_as_they_were() -> None:
    chat = Chat(turns=(Turn(role="user", content=(DocumentPart(file_id="f"),)),))

    with pytest.raises(MeshError, match="m does not read documents") as refused:
        readable(chat, "m")

    assert refused.value.code is Code.UNSUPPORTED_PARAMETER
    assert readable(Text(text="x"), "m") == Text(text="x")
