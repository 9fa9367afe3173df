import json

import pytest

from proto.dialects.openai import asked_chat
from proto.errors import Code, MeshError
from proto.prompt import DocumentPart, ImagePart, TextPart, Thought, ToolCall, Turn


def read(*messages, **fields):
    return asked_chat(json.dumps({"model": "m", "messages": messages} | fields).encode()).prompts[0]


def turns(*messages):
    return read(*messages).turns


def refused(*messages, **fields) -> MeshError:
    with pytest.raises(MeshError) as caught:
        read(*messages, **fields)
    return caught.value


def user(content="Hi"):
    return {"role": "user", "content": content}


def assistant(content=None, **fields):
    return {"role": "assistant", "content": content, **fields}


def calling(*ids, content=None):
    calls = [
        {"id": id, "type": "function", "function": {"name": f"f_{id}", "arguments": "{}"}}
        for id in ids
    ]
    return assistant(content, tool_calls=calls)


def answering(id, content="done"):
    return {"role": "tool", "tool_call_id": id, "content": content}


def text(text):
    return {"type": "text", "text": text}


PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}


def test_developers_are_systems_and_text_parts_are_joined():
    developer = {"role": "developer", "content": [text("Be"), text("kind.")], "name": "x"}

    assert turns(developer, user([text("a"), text("b")])) == (
        Turn(role="system", content="Be\nkind."),
        Turn(role="user", content="a\nb"),
    )


def test_pictures_keep_their_place_between_the_words():
    said = turns(user([text("Look:"), PICTURE, text("Well?")]))[0].content

    url = PICTURE["image_url"]["url"]
    assert said == (TextPart(text="Look:"), ImagePart(url=url), TextPart(text="Well?"))


@pytest.mark.parametrize(
    ("file", "part"),
    [
        ({"file_id": "f", "filename": "a.pdf"}, DocumentPart(file_id="f", title="a.pdf")),
        (
            {"file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"},
            DocumentPart(
                url="data:application/pdf;base64,JVBERi0=",
                media_type="application/pdf",
                title="a.pdf",
            ),
        ),
        ({"file_data": "https://x/a.pdf"}, DocumentPart(url="https://x/a.pdf")),
    ],
)
def test_a_document_stands_where_it_stood(file, part):
    said = turns(user([text("Read:"), {"type": "file", "file": file}]))[0].content

    assert said == (TextPart(text="Read:"), part)


def test_a_file_of_words_is_its_words():
    file = {"file_data": "data:text/plain;base64,Q2FsbS4=", "filename": "sea.txt"}

    assert turns(user([{"type": "file", "file": file}]))[0].content == "sea.txt\nCalm."


@pytest.mark.parametrize(
    "data", [None, "AAAA", "data:image/png;base64,AA==", "data:text/plain;base64,/w=="]
)
def test_files_that_nobody_reads_are_refused_by_place(data):
    error = refused(user([text("a"), {"type": "file", "file": {"file_data": data}}]))

    assert error.param == "messages[0].content[1].file.file_data"


def test_marks_stand_at_the_end_of_what_they_mark():
    marked = text("a") | {"cache_control": {"type": "ephemeral"}}

    found = turns(
        {"role": "system", "content": [marked]},
        user([text("x"), marked, text("y")]),
        {"role": "assistant", "content": [marked]},
    )

    assert found[0].content == (TextPart(text="a", cache="5m"),)
    assert found[1].content == (TextPart(text="x\na", cache="5m"), TextPart(text="y"))
    assert (found[2].content, found[2].cache) == ("a", "5m")


def test_signed_thoughts_come_back_as_they_were_however_a_client_kept_them():
    whole = [
        {"type": "reasoning.text", "text": "Hm.", "signature": "EqQB", "index": 0},
        {"type": "reasoning.encrypted", "data": "x", "format": "anthropic-claude-v1", "index": 1},
    ]
    pieces = [
        {"type": "reasoning.text", "text": "H", "index": 0},
        {"type": "reasoning.text", "text": "m.", "index": 0},
        {"type": "reasoning.text", "signature": "EqQB", "index": 0},
        {"type": "reasoning.encrypted", "data": "x", "index": 1},
    ]
    strange = [{"type": "reasoning.text", "text": "y", "format": "other"}, 7]

    for details in (whole, pieces, [*strange, *whole]):
        answer = {"role": "assistant", "content": "b", "reasoning_details": details}
        found = turns(user("a"), answer, user("c"))[1]
        assert found.thoughts == (Thought(text="Hm.", signature="EqQB"), Thought(sealed="x"))
        assert found.reasoning == "Hm."


@pytest.mark.parametrize(
    "part",
    [
        {"input_audio": {"data": "AA==", "format": "wav"}, "type": "input_audio"},
        {"type": "video_url", "video_url": {"url": "x"}},
    ],
)
def test_other_parts_are_refused_by_place(part):
    error = refused(user([text("a"), part]))

    assert error.code is Code.UNSUPPORTED_PARAMETER
    assert error.param == "messages[0].content[1].type"
    assert "image_url" in error.message


@pytest.mark.parametrize("role", ["system", "developer", "assistant", "tool"])
def test_only_users_show_pictures(role):
    error = refused(user(), {"role": role, "content": [PICTURE], "tool_call_id": "a"})

    assert error.code is Code.UNSUPPORTED_PARAMETER or role != "tool"
    assert error.param.startswith("messages[1]")


def test_what_a_client_was_answered_can_be_sent_back_as_it_is():
    answer = assistant("", refusal=None, tool_calls=None, function_call=None, annotations=[])

    assert turns(answer) == (Turn(role="assistant"),)
    assert turns(assistant()) == (Turn(role="assistant"),)


def test_a_refusal_is_what_the_assistant_said():
    parts = [text("No."), {"type": "refusal", "refusal": "Never."}]

    assert turns(assistant(None, refusal="No."))[0].content == "No."
    assert turns(assistant(parts))[0].content == "No.\nNever."


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning"])
def test_what_was_thought_comes_back_under_both_names(name):
    assert turns(assistant("4", **{name: "2+2"}))[0].reasoning == "2+2"


def test_calls_and_their_answers_find_each_other():
    said = turns(
        user(), calling("a", "b"), answering("b", [text("1"), text("2")]), answering("a"), user()
    )

    assert said[1].calls == (
        ToolCall(id="a", name="f_a", arguments="{}"),
        ToolCall(id="b", name="f_b", arguments="{}"),
    )
    assert said[1].content == ""
    assert said[2] == Turn(role="tool", content="1\n2", call_id="b", name="f_b")
    assert said[3] == Turn(role="tool", content="done", call_id="a", name="f_a")


def test_an_id_may_be_used_again_in_a_later_turn():
    again = [calling("a"), answering("a")]

    assert [turn.call_id for turn in turns(user(), *again, *again)] == ["", "", "a", "", "a"]


def test_calls_put_together_from_a_stream_still_have_their_index():
    call = calling("a")
    call["tool_calls"][0]["index"] = 0

    assert turns(call, answering("a"))[0].calls[0].name == "f_a"


@pytest.mark.parametrize("after", [[], [user()], [answering("a"), user()], [calling("c")]])
def test_a_call_that_nobody_answered_is_refused_with_its_id(after):
    error = refused(user(), calling("a", "b"), *after)

    assert error.param == "messages[1].tool_calls"
    assert " b;" in error.message


@pytest.mark.parametrize(
    ("messages", "at"),
    [
        ([answering("a")], 0),
        ([calling("a"), answering("b")], 1),
        ([calling("a"), answering("a"), answering("a")], 2),
        ([calling("a"), answering("a"), user(), answering("a")], 3),
    ],
)
def test_an_answer_to_no_call_is_refused_by_place(messages, at):
    assert refused(*messages).param == f"messages[{at}].tool_call_id"


def test_two_calls_of_one_id_are_refused():
    assert refused(calling("a", "a")).param == "messages[0].tool_calls"


def test_calls_of_custom_tools_are_refused_by_place():
    call = {"id": "a", "type": "custom", "custom": {"name": "f", "input": "x"}}
    error = refused(assistant(tool_calls=[call]))

    assert error.code is Code.UNSUPPORTED_PARAMETER
    assert error.param == "messages[0].tool_calls[0].type"


def test_the_older_form_of_calls_is_read_and_gets_lasting_ids():
    call = {"name": "f", "arguments": "{}"}
    said = turns(
        user(), assistant(function_call=call), {"role": "function", "name": "f", "content": "1"}
    )

    assert said[1].calls == (ToolCall(id="call_1", name="f", arguments="{}"),)
    assert said[2] == Turn(role="tool", content="1", call_id="call_1", name="f")


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ({"role": "user"}, "messages[0].content"),
        ({"role": "user", "content": None}, "messages[0].content"),
        ({"role": "user", "content": [{"text": "x"}]}, "messages[0].content[0].type"),
        ({"role": "user", "content": [{"type": "text"}]}, "messages[0].content[0].text"),
        ({"role": "user", "content": "Hi", "mood": "sad"}, "messages[0].mood"),
        ({"role": "tool", "content": "x"}, "messages[0].tool_call_id"),
        ({"role": "function", "content": "x"}, "messages[0].name"),
        ({"role": "wizard", "content": "x"}, "messages[0].role"),
        ({"content": "x"}, "messages[0].role"),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages[0].audio"),
    ],
)
def test_a_message_that_cannot_be_read_is_refused_by_place(message, place):
    assert refused(message).param == place


@pytest.mark.parametrize(
    "fields",
    [
        {"continue_final_message": True},
        {"continue_final_message": True, "add_generation_prompt": False},
    ],
)
def test_the_answer_may_go_on_from_the_assistants_last_words(fields):
    assert read(user(), assistant("It is"), **fields).continues_last
    assert read(user(), assistant("It is", prefix=True)).continues_last
    assert not read(user(), assistant("It is")).continues_last


@pytest.mark.parametrize(
    ("messages", "place"),
    [
        ([assistant("a", prefix=True), user()], "messages[0].prefix"),
        ([calling("a") | {"prefix": True}, answering("a")], "messages[0].prefix"),
        ([assistant(function_call={"name": "f", "arguments": ""}, prefix=True)],
         "messages[0].prefix"),
    ],
)  # fmt: skip
def test_nothing_else_can_be_gone_on_from(messages, place):
    assert refused(*messages).param == place
