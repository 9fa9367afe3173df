import json

import pytest

from proto.dialects.ollama import asked_chat, asked_generate, empty, envelope
from proto.errors import Code, MeshError
from proto.format import JsonObject, JsonSchema
from proto.generation import Sampling
from proto.prompt import Chat, ImagePart, Text, TextPart, Thinking, Tool, ToolCall, Turn

HI = {"role": "user", "content": "Hi"}


def chat(*messages, **fields):
    said = {"model": "m", "messages": list(messages) or [HI]}
    return asked_chat(json.dumps(said | fields).encode())


def generate(**fields):
    return asked_generate(json.dumps({"model": "m", "prompt": "Hi"} | fields).encode())


def refused(ask, *messages, **fields) -> MeshError:
    with pytest.raises(MeshError) as caught:
        ask(*messages, **fields)
    return caught.value


def turns(*messages) -> tuple[Turn, ...]:
    (prompt,) = chat(*messages).prompts
    return prompt.turns


def test_the_least_a_client_can_send_streams():
    asked = chat()

    assert asked.prompts == (Chat(turns=(Turn(role="user", content="Hi"),)),)
    assert (asked.stream, asked.max_tokens, asked.logprobs, asked.ignored) == (True, None, None, ())
    assert asked.sampling == Sampling()
    assert chat(stream=False).stream is False


def test_options_that_choose_tokens_arrive():
    asked = chat(
        options={
            "temperature": 0.5, "top_k": 4, "top_p": 0.9, "min_p": 0.1, "seed": 7,
            "num_predict": 12, "stop": ["a", ""], "repeat_penalty": 1.1,
            "presence_penalty": 0.2, "frequency_penalty": 0.3,
        }
    )  # fmt: skip

    assert asked.sampling == Sampling(
        temperature=0.5,
        top_k=4,
        top_p=0.9,
        min_p=0.1,
        seed=7,
        repetition_penalty=1.1,
        presence_penalty=0.2,
        frequency_penalty=0.3,
    )
    assert (asked.max_tokens, asked.stop, asked.ignored) == (12, ("a",), ())


@pytest.mark.parametrize("none", [-2, -1, 0, -1.0])
def test_what_is_no_limit_with_the_vendor_is_none_here(none):
    asked = chat(options={"num_predict": none, "top_k": none})

    assert (asked.max_tokens, asked.sampling.top_k) == (None, 0)
    assert chat(options={"seed": -1}).sampling.seed is None


def test_numbers_with_a_point_are_cut_off_as_the_vendor_does():
    assert chat(options={"num_predict": 3.0, "top_k": 40.9}).max_tokens == 3


def test_what_has_no_effect_is_named():
    asked = chat(
        keep_alive="5m",
        truncate=None,
        novel=1,
        options={"num_ctx": 4096, "mirostat": 1, "novel": True, "num_gpu": None},
    )

    assert asked.ignored == (
        "keep_alive", "novel", "options.num_ctx", "options.mirostat", "options.novel",
    )  # fmt: skip
    assert generate(context=[1, 2]).ignored == ("context",)


def test_null_is_the_same_as_leaving_a_field_out():
    names = "stream format options think tools logprobs top_logprobs keep_alive"

    assert chat(**dict.fromkeys(names.split())) == chat()


@pytest.mark.parametrize(
    ("think", "meant"),
    [
        (True, Thinking(enabled=True)),
        (False, Thinking(enabled=False)),
        ("low", Thinking(enabled=True, effort="low")),
        ("max", Thinking(enabled=True, effort="xhigh")),
    ],
)
def test_thinking_is_told_as_a_switch_or_as_a_level(think, meant):
    assert chat(think=think).prompts[0].thinking == meant
    assert generate(think=think).prompts[0].thinking == meant


def test_formats_are_json_or_a_schema():
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}

    assert chat(format="json").format == JsonObject()
    assert chat(format=schema).format == JsonSchema(schema=schema)
    assert chat(format="").format is None


def test_tools_arrive():
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    function = {"name": "weather", "description": "Of a city.", "parameters": parameters}
    (prompt,) = chat(tools=[{"type": "function", "function": function}]).prompts

    assert prompt.tools == (Tool(name="weather", description="Of a city.", parameters=parameters),)


def test_a_tools_answer_finds_the_call_by_id_by_name_or_by_order():
    calls = [
        {"id": "x", "function": {"name": "f", "arguments": {"a": 1}}},
        {"function": {"name": "g", "arguments": {}}},
        {"function": {"name": "f", "arguments": {"a": 2}}},
    ]
    said = turns(
        HI,
        {"role": "assistant", "content": None, "thinking": "Hm.", "tool_calls": calls},
        {"role": "tool", "content": "2", "tool_name": "g"},
        {"role": "tool", "content": "1", "tool_call_id": "x"},
        {"role": "tool", "content": "3"},
        {"role": "tool", "content": "4"},
    )

    assert said[1] == Turn(
        role="assistant",
        reasoning="Hm.",
        calls=(
            ToolCall(id="x", name="f", arguments='{"a":1}'),
            ToolCall(id="call_1_1", name="g", arguments="{}"),
            ToolCall(id="call_1_2", name="f", arguments='{"a":2}'),
        ),
    )
    told = [(turn.call_id, turn.name) for turn in said[2:]]
    assert told == [("call_1_1", "g"), ("x", "f"), ("call_1_2", "f"), ("", "")]


def test_pictures_stand_before_their_words_and_get_a_type():
    (turn,) = turns({"role": "user", "content": "What?", "images": ["iVBORw0KGgoAAA", "/9j/4A"]})

    assert turn.content == (
        ImagePart(url="data:image/png;base64,iVBORw0KGgoAAA"),
        ImagePart(url="data:image/jpeg;base64,/9j/4A"),
        TextPart(text="What?"),
    )
    (alone,) = generate(prompt="What?", images=["data:image/webp;base64,AA"]).prompts[0].turns
    assert alone.images == (ImagePart(url="data:image/webp;base64,AA"),)


def test_an_answer_goes_on_where_the_last_message_is_the_assistants():
    begun = {"role": "assistant", "content": "Once"}
    called = {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": {}}}]}

    assert chat(HI, begun).prompts[0].continues_last is True
    assert chat(HI, called).prompts[0].continues_last is False
    assert chat(HI).prompts[0].continues_last is False


def test_a_prompt_is_a_users_turn_or_taken_as_it_stands():
    assert generate(system="Be brief.").prompts == (
        Chat(turns=(Turn(role="system", content="Be brief."), Turn(role="user", content="Hi"))),
    )
    assert generate(raw=True).prompts == (Text(text="Hi"),)


def test_logprobs_have_alternatives_when_they_are_asked_for():
    assert chat(logprobs=True).logprobs == 0
    assert chat(logprobs=True, top_logprobs=3).logprobs == 3
    assert chat(top_logprobs=3).logprobs is None


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"format": "yaml"}, "format"),
        ({"think": "enormously"}, "think"),
        ({"options": {"stop": "x"}}, "options.stop"),
        ({"options": {"temperature": -1}}, "options.temperature"),
        ({"options": {"top_k": "many"}}, "options.top_k"),
        ({"options": 5}, "options"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages[0].content"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"top_logprobs": 21}, "top_logprobs"),
        ({"model": None}, "model"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(fields, param):
    error = refused(chat, **fields)

    assert error.code.status == 400
    assert error.param == param
    assert param.rpartition(".")[2].split("[")[0] in error.message


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"template": "{{ .Prompt }}"}, "template"),
        ({"raw": True, "system": "x"}, "system"),
        ({"raw": True, "images": ["/9j/"]}, "images"),
        ({"raw": True, "think": True}, "think"),
    ],
)
def test_what_a_prompt_cannot_be_given_is_refused(fields, param):
    assert refused(generate, **fields).param == param


def test_the_last_of_two_fields_of_one_name_counts():
    body = b'{"model":"a","model":"b","messages":[{"role":"user","content":"Hi"}]}'

    assert asked_chat(body).model == "b"


@pytest.mark.parametrize(
    ("body", "unloads"),
    [
        ({}, False), ({"messages": [], "keep_alive": 0}, True), ({"keep_alive": "0s"}, True),
        ({"prompt": "", "keep_alive": "10m"}, False), ({"keep_alive": -1}, False),
    ],
)  # fmt: skip
def test_requests_without_words_load_or_unload(body, unloads):
    found = empty(json.dumps({"model": "m"} | body).encode())

    assert found is not None
    assert found.unloads is unloads


@pytest.mark.parametrize("body", [b"{", b'{"model":"m","prompt":"x"}', b'{"prompt":""}', b"\xff"])
def test_all_others_are_requests_for_an_answer(body):
    assert empty(body) is None


def test_an_error_is_one_sentence():
    error = MeshError(Code.MODEL_NOT_FOUND, "model 'x' not found", param="model")

    assert json.loads(envelope(error)) == {"error": "model 'x' not found"}
