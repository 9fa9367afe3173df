"""From Anthropic's messages to turns: blocks of all kinds, calls and results, instructions."""

import json

import pytest

from proto.dialects.anthropic import asked_messages
from proto.dialects.anthropic_content import signature_of
from proto.errors import Code, MeshError
from proto.prompt import DocumentPart, ImagePart, TextPart, Thought, ToolCall, Turn

USE = {"type": "tool_use", "id": "toolu_c1", "name": "look", "input": {"at": "sea", "n": 1}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_c1", "content": "blue"}
CALL = ToolCall(id="c1", name="look", arguments='{"at":"sea","n":1}')
IMAGE = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
PICTURE = ImagePart(url="data:image/png;base64,QUJD")


def user(*content, **fields):
    said = list(content) if not isinstance(content[0], str) else content[0]
    return {"role": "user", "content": said} | fields


def assistant(*content):
    return {"role": "assistant", "content": list(content)}


def system(content, **fields):
    return {"role": "system", "content": content} | fields


def text(words):
    return {"type": "text", "text": words}


def chat(*said, **fields):
    body = {"model": "m", "max_tokens": 9, "messages": list(said)} | fields
    return asked_messages(json.dumps(body).encode()).prompts[0]


def turns(*said, **fields):
    return chat(*said, **fields).turns


def refused(*said, **fields) -> MeshError:
    with pytest.raises(MeshError) as caught:
        chat(*said, **fields)
    assert caught.value.code in (Code.INVALID_REQUEST, Code.UNSUPPORTED_PARAMETER)
    return caught.value


def test_a_call_and_its_result_are_a_turn_of_the_assistant_and_one_of_the_tool():
    assert turns(user("Look."), assistant(text("So."), USE), user(RESULT)) == (
        Turn(role="user", content="Look."),
        Turn(role="assistant", content="So.", calls=(CALL,)),
        Turn(role="tool", content="blue", call_id="c1", name="look"),
    )


def test_each_of_several_results_is_a_turn_before_what_the_user_says():
    other = USE | {"id": "toolu_c2", "name": "smell"}
    second = {"type": "tool_result", "tool_use_id": "toolu_c2", "is_error": True}

    found = turns(user("Look."), assistant(USE, other), user(RESULT, second, text("And?")))

    assert [turn.role for turn in found[2:]] == ["tool", "tool", "user"]
    assert (found[3].name, found[3].is_error, found[3].content) == ("smell", True, "")
    assert found[4].content == "And?"


def test_results_stand_in_the_order_of_their_calls():
    other = USE | {"id": "toolu_c2", "name": "smell"}
    second = {"type": "tool_result", "tool_use_id": "toolu_c2", "content": "salty"}

    found = turns(user("Look."), assistant(USE, other), user(second, RESULT))

    assert [turn.name for turn in found[2:]] == ["look", "smell"]


def test_a_result_may_hold_words_pictures_documents_and_findings():
    document = {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "body"},
        "title": "T",
    }
    finding = {"type": "search_result", "source": "s", "title": "t", "content": [text("found")]}
    tool = {"type": "tool_reference", "tool_name": "smell"}
    result = RESULT | {"content": [text("a"), IMAGE, document, finding, tool]}

    content = turns(user("Look."), assistant(USE), user(result))[2].content

    assert content == (TextPart(text="a"), PICTURE, TextPart(text="T\nbody\nt\ns\nfound\nsmell"))


@pytest.mark.parametrize(
    ("said", "param"),
    [
        ([user("a"), assistant(USE)], "messages[1].content"),
        ([user("a"), assistant(USE), user("b")], "messages[2].content"),
        ([user("a"), user(RESULT)], "messages[1].content[0].tool_use_id"),
        ([user("a"), assistant(text("b")), user(RESULT)], "messages[2].content[0].tool_use_id"),
        ([user("a"), assistant(USE), user(text("b"), RESULT)], "messages[2].content[1]"),
        ([user("a"), assistant(USE), user(RESULT, RESULT)], "messages[2].content[1]"),
        ([user("a"), assistant(USE, USE), user(RESULT)], "messages[1].content"),
    ],
)
def test_calls_and_results_that_do_not_go_together_are_refused_where_they_stand(said, param):
    error = refused(*said)

    assert error.param == param
    assert param in error.message


def test_a_result_that_is_missing_is_named_by_the_id_the_client_knows():
    assert "toolu_c1" in refused(user("a"), assistant(USE), user("b")).message


def test_results_of_an_earlier_turn_are_over():
    error = refused(user("a"), assistant(USE), user(RESULT), assistant(text("b")), user(RESULT))

    assert error.param == "messages[4].content[0].tool_use_id"


def test_thinking_comes_back_as_reasoning_signed_by_whomever():
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": "EqQB"}
    hidden = {"type": "thinking", "thinking": "", "signature": signature_of("Ho.", False)}
    redacted = {"type": "redacted_thinking", "data": "x"}

    found = turns(user("a"), assistant(thinking, hidden, redacted, text("b")), user("c"))

    assert found[1] == Turn(
        role="assistant",
        content="b",
        reasoning="Hm.\nHo.",
        thoughts=(
            Thought(text="Hm.", signature="EqQB"),
            Thought(text="Ho."),
            Thought(sealed="x"),
        ),
    )


def test_thinking_that_nobody_signed_has_no_blocks():
    thinking = {"type": "thinking", "thinking": "Hm.", "signature": signature_of("Hm.", True)}

    assert turns(user("a"), assistant(thinking, text("b")), user("c"))[1].thoughts == ()


def test_pictures_stand_where_they_stood():
    by_url = {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}

    (turn,) = turns(user(text("a"), text("b"), IMAGE, by_url, text("c")))

    assert turn.content == (
        TextPart(text="a\nb"),
        PICTURE,
        ImagePart(url="https://x/y.png"),
        TextPart(text="c"),
    )


@pytest.mark.parametrize(
    ("source", "part"),
    [
        (
            {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0="},
            {"url": "data:application/pdf;base64,JVBERi0=", "media_type": "application/pdf"},
        ),
        ({"type": "url", "url": "https://x/y.pdf"}, {"url": "https://x/y.pdf"}),
        ({"type": "file", "file_id": "file_1"}, {"file_id": "file_1"}),
    ],
)
def test_a_document_of_bytes_stays_one(source, part):
    block = {"type": "document", "source": source, "title": "T", "context": "C"}

    (turn,) = turns(user(text("a"), block | {"cache_control": {"type": "ephemeral"}}))

    document = DocumentPart(**part, title="T", context="C", cache="5m")
    assert turn.content == (TextPart(text="a"), document)


def test_a_document_is_its_words():
    content = [text("one"), IMAGE]
    document = {
        "type": "document",
        "source": {"type": "content", "content": content},
        "title": "T",
        "context": "C",
        "citations": {"enabled": False},
    }
    plain = document | {"source": {"type": "content", "content": "all"}}

    assert turns(user(document))[0].content == (TextPart(text="T\nC\none"), PICTURE)
    assert turns(user(plain, text("?")))[0].content == "T\nC\nall\n?"


@pytest.mark.parametrize(
    ("block", "param"),
    [
        (
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf"}},
            "messages[0].content[0].source.data",
        ),
        (
            {"type": "document", "source": {"type": "url", "url": "x"}},
            "messages[0].content[0].source.url",
        ),
        (
            {"type": "image", "source": {"type": "file", "file_id": "x"}},
            "messages[0].content[0].source.type",
        ),
        (IMAGE | {"source": IMAGE["source"] | {"media_type": "image/bmp"}}, "media_type"),
        (
            {
                "type": "search_result",
                "source": "s",
                "title": "t",
                "content": [],
                "citations": {"enabled": True},
            },
            "messages[0].content[0].citations",
        ),
        (USE, "messages[0].content[0].type"),
        ({"type": "server_tool_use", "id": "x"}, "messages[0].content[0].type"),
        (text(""), "messages[0].content[0].text"),
        (text("a") | {"colour": "blue"}, "messages[0].content[0].colour"),
    ],
)
def test_what_cannot_be_read_is_refused_where_it_stands(block, param):
    assert refused(user(block)).param.endswith(param)


def test_what_cannot_be_read_inside_a_result_is_refused_where_it_stands():
    pdf = {"type": "document", "source": {"type": "tape", "data": "x"}}
    error = refused(user("a"), assistant(USE), user(RESULT | {"content": [pdf]}))

    assert error.param == "messages[2].content[0].content[0].source.type"
    assert error.code is Code.UNSUPPORTED_PARAMETER


def test_blocks_of_an_answer_are_put_together_as_they_were():
    assert turns(user("a"), assistant(text("b"), text("c")), user("d"))[1].content == "bc"


def test_an_answer_that_was_empty_may_come_back():
    assert turns(user("a"), assistant(), user("b"))[1] == Turn(role="assistant")
    assert turns(user("a"), assistant(text("")), user("b"))[1] == Turn(role="assistant")


def test_an_answer_is_begun_by_a_last_message_with_words():
    begun = chat(user("a"), assistant(text("b")))

    assert begun.continues_last
    assert chat(user("a"), assistant()) == chat(user("a"))


@pytest.mark.parametrize(
    "block", [text("b "), text("b\n"), {"type": "thinking", "thinking": "x", "signature": "y"}]
)
def test_a_beginning_that_cannot_be_gone_on_from_is_refused(block):
    assert refused(user("a"), assistant(block)).param == "messages[1].content"


def test_instructions_before_the_first_question_belong_to_the_system_prompt():
    found = turns(system("B"), system([text("C")]), user("a"), system="A")

    assert found == (Turn(role="system", content="A\nB\nC"), Turn(role="user", content="a"))


def test_an_instruction_in_between_is_shown_with_the_question_it_follows():
    found = turns(user("a"), system("Be brief."), assistant(text("b")), user("c"))

    shown = "a\n<system-reminder>\nBe brief.\n</system-reminder>"
    assert found[0] == Turn(role="user", content=shown)
    assert [turn.role for turn in found] == ["user", "assistant", "user"]


def test_an_instruction_after_results_is_shown_behind_them():
    found = turns(user("a"), assistant(USE), user(RESULT), system("Hurry."))

    assert [turn.role for turn in found] == ["user", "assistant", "tool", "user"]
    assert "Hurry." in found[3].content


def test_an_instruction_for_one_question_is_gone_with_the_next():
    once = system("Once.", clear_at="next_user_message")

    assert "Once." in turns(user("a"), once)[0].content
    assert turns(user("a"), once, assistant(text("b")), user("c"))[0].content == "a"


def test_an_instruction_that_only_sets_an_effort_says_nothing():
    quiet = {"role": "system", "output_config": {"effort": "low"}}

    assert turns(user("a"), quiet) == (Turn(role="user", content="a"),)
