import json

import pytest
from msgspec.structs import replace

from proto.dialects.openai import asked_chat, asked_completion, envelope
from proto.errors import Code, MeshError
from proto.format import Grammar, JsonObject, JsonSchema, Regex
from proto.generation import Sampling
from proto.prompt import Chat, Text, Tokens, Turn


def chat(**fields):
    said = {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}
    return asked_chat(json.dumps(said | fields).encode())


def completion(**fields):
    return asked_completion(json.dumps({"model": "m", "prompt": "Hi"} | fields).encode())


def refused(ask, **fields) -> MeshError:
    with pytest.raises(MeshError) as caught:
        ask(**fields)
    return caught.value


def test_the_least_a_client_can_send_is_understood():
    asked = chat()

    assert asked.prompts == (Chat(turns=(Turn(role="user", content="Hi"),)),)
    assert (asked.n, asked.max_tokens, asked.logprobs, asked.stream) == (1, None, None, False)
    assert asked.sampling == Sampling()


def test_every_sampling_parameter_arrives():
    asked = chat(
        temperature=0,
        top_p=0.5,
        top_k=7,
        min_p=0.1,
        seed=-3,
        presence_penalty=1,
        frequency_penalty=-1,
        repetition_penalty=1.1,
        logit_bias={"5": -100},
    )

    assert asked.sampling == Sampling(
        temperature=0,
        top_p=0.5,
        top_k=7,
        min_p=0.1,
        seed=-3,
        presence_penalty=1,
        frequency_penalty=-1,
        repetition_penalty=1.1,
        logit_bias={5: -100},
    )


def test_null_is_the_same_as_leaving_a_field_out():
    names = "temperature top_p n stop seed logprobs tools audio stream stream_options metadata"

    assert chat(**dict.fromkeys(names.split())) == chat()


@pytest.mark.parametrize(
    "fields",
    [
        {"tools": []},
        {"tool_choice": "auto"},
        {"tool_choice": "none"},
        {"functions": []},
        {"functions": [], "function_call": "auto"},
        {"response_format": {"type": "text"}},
        {"modalities": ["text"]},
        {"logprobs": False},
        {"n": 1},
        {"store": False},
        {"parallel_tool_calls": True},
        {"metadata": {"a": "b"}},
        {"verbosity": "medium", "include_reasoning": True},
        {"stream_options": {"include_usage": False, "include_obfuscation": True}},
        {"chat_template_kwargs": {}, "continue_final_message": False},
    ],
)
def test_what_has_no_effect_or_stays_at_its_off_value_is_accepted(fields):
    assert chat(**fields) == chat()


def test_who_asks_and_the_tier_go_along_for_upstreams():
    asked = chat(user="u", service_tier="default")

    assert (asked.user, asked.tier) == ("u", "standard")
    assert chat(user="u", safety_identifier="s").user == "s"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("audio", {"voice": "alloy", "format": "wav"}),
        ("prediction", {"type": "content", "content": "x"}),
        ("web_search_options", {}),
        ("moderation", {"model": "m"}),
        ("store", True),
        ("service_tier", "scale"),
        ("verbosity", "low"),
        ("prompt_cache_options", {"mode": "implicit"}),
        ("prompt_cache_retention", "24h"),
    ],
)
def test_what_is_taken_without_effect_is_named(name, value):
    assert chat(**{name: value}) == replace(chat(), ignored=(name,))


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("modalities", ["text", "audio"], "modalities"),
        ("response_format", {"type": "xml"}, "response_format.type"),
        ("tools", [{"type": "custom", "custom": {"name": "f"}}], "tools[0].type"),
        ("tool_choice", {"type": "custom", "custom": {"name": "f"}}, "tool_choice.type"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(name, value, place):
    error = refused(chat, **{name: value})

    assert error.code is Code.UNSUPPORTED_PARAMETER
    assert error.param == place
    assert name in error.message


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("suffix", {"suffix": "end"}),
        ("best_of", {"best_of": 3}),
        ("echo", {"echo": True, "prompt": [1, 2]}),
        ("echo", {"echo": True, "prompt": [[1], [2]]}),
        ("echo", {"echo": True, "logprobs": 0}),
    ],
)
def test_what_older_completions_cannot_do_is_refused_by_name(name, fields):
    error = refused(completion, **fields)

    assert (error.code, error.param) == (Code.UNSUPPORTED_PARAMETER, name)


def test_best_of_that_keeps_every_choice_asks_for_nothing():
    assert completion(best_of=2, n=2) == completion(n=2)
    assert completion(best_of=0) == completion()


def test_an_echo_is_of_text():
    assert completion(echo=True, prompt=["a", "b"]).echo
    assert not completion(echo=False).echo


def test_no_tokens_at_all_may_be_asked_for():
    assert chat(max_tokens=0).max_tokens == 0
    assert chat(max_tokens=5, max_completion_tokens=0).max_tokens == 0
    assert completion(max_tokens=0).generate(0, "r", "g", None).max_tokens == 0


def test_biases_are_for_token_ids_or_for_words():
    sampling = chat(logit_bias={"5": -100, "é": 2, "-5": 1, str(2**31): 3}).sampling

    assert sampling.logit_bias == {5: -100}
    assert sampling.word_bias == {"é": 2, "-5": 1, str(2**31): 3}


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonObject()),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "array"}}},
            JsonSchema(schema={"type": "array"}, name="n"),
        ),
        (
            {"json_schema": {"name": "n", "schema": {}, "strict": True}, "type": "json_schema"},
            JsonSchema(schema={}, name="n", strict=True),
        ),
        ({"type": "json_schema", "json_schema": {"name": "n", "strict": False}}, JsonObject()),
        ({"type": "regex", "pattern": "a+"}, Regex(pattern="a+")),
        ({"type": "grammar", "grammar": "start: /a/"}, Grammar(source="start: /a/")),
    ],
)
def test_formats_are_the_same_in_both_endpoints(said, wanted):
    assert chat(response_format=said).format == wanted
    assert completion(response_format=said).generate(0, "r", "g", None).format == wanted


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ({}, "response_format.type"),
        ({"type": "json_schema"}, "response_format.json_schema"),
        (
            {"type": "json_schema", "json_schema": {"schema": {}}},
            "response_format.json_schema.name",
        ),
        (
            {"type": "json_schema", "json_schema": {"name": "a b"}},
            "response_format.json_schema.name",
        ),
        ({"type": "regex", "pattern": ""}, "response_format.pattern"),
        ({"type": "grammar"}, "response_format.grammar"),
    ],
)
def test_a_format_that_says_too_little_is_refused_by_place(said, place):
    assert refused(chat, response_format=said).param == place


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temperature", 2.1),
        ("temperature", "hot"),
        ("top_p", 1.5),
        ("presence_penalty", -3),
        ("frequency_penalty", 2.5),
        ("max_tokens", -1),
        ("max_completion_tokens", -1),
        ("n", 0),
        ("n", 129),
        ("top_logprobs", 21),
        ("top_logprobs", 2),
        ("stop", ["a", "b", "c", "d", "e"]),
        ("stop", ""),
        ("stop", [""]),
        ("logit_bias", {"": 1}),
        ("logit_bias", {"1": 101}),
        ("logit_bias", [1]),
        ("seed", 1.5),
        ("seed", 2**70),
        ("messages", []),
        ("stream_options", {"continuous_usage_stats": True}),
        ("tool_choice", "required"),
        ("tool_choice", {"type": "function", "function": {"name": "f"}}),
        ("function_call", {"name": "f"}),
        ("reasoning_effort", "tremendous"),
        ("add_generation_prompt", False),
        ("continue_final_message", True),
        ("temprature", 1),
    ],
)
def test_nonsense_is_refused_with_the_name_of_the_field(name, value):
    error = refused(chat, **{name: value})

    assert error.code is Code.INVALID_REQUEST
    assert error.param.startswith(name)
    assert name in error.message


def test_an_unknown_field_inside_a_message_is_named_with_its_place():
    error = refused(chat, messages=[{"role": "user", "content": "Hi", "mood": "sad"}])

    assert error.param == "messages[0].mood"


def test_the_newer_name_of_max_tokens_wins():
    assert chat(max_tokens=5, max_completion_tokens=9).max_tokens == 9


def test_the_prompt_cache_key_names_the_session_where_nothing_else_does():
    assert chat(prompt_cache_key="k").session == "k"
    assert chat(prompt_cache_key="k", session_id="s").session == "s"


def test_one_stop_string_or_several():
    assert chat(stop="end").stop == ("end",)
    assert chat(stop=["a", "b"]).stop == ("a", "b")
    assert chat(stop=[]).stop == ()


def test_logprobs_count_the_alternatives():
    assert chat(logprobs=True).logprobs == 0
    assert chat(logprobs=True, top_logprobs=3).logprobs == 3
    assert completion(logprobs=0).logprobs == 0
    assert refused(completion, logprobs=6).param == "logprobs"


@pytest.mark.parametrize(
    ("prompt", "prompts"),
    [
        ("a", (Text(text="a"),)),
        (["a", "b"], (Text(text="a"), Text(text="b"))),
        ([1, 2], (Tokens(ids=(1, 2)),)),
        ([[1], [2, 3]], (Tokens(ids=(1,)), Tokens(ids=(2, 3)))),
    ],
)
def test_prompts_come_in_four_forms(prompt, prompts):
    assert completion(prompt=prompt).prompts == prompts


@pytest.mark.parametrize("prompt", [[], ["a", 1], [[]], [1, [2]], [-1], 5, None])
def test_other_forms_of_prompts_are_refused(prompt):
    assert refused(completion, prompt=prompt).param.startswith("prompt")


def test_prompts_times_choices_are_bounded():
    assert refused(completion, prompt=["x"] * 65, n=2).param == "prompt"


def test_choices_of_one_seed_differ_and_stay_reproducible():
    asked = completion(prompt=["a", "b"], n=2, seed=7)

    each = [asked.generate(choice, f"r-{choice}", "g", None) for choice in range(4)]

    assert [one.prompt.text for one in each] == ["a", "a", "b", "b"]
    assert [one.sampling.seed for one in each] == [7, 8, 9, 10]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"nonsense", b'{"model": "\xff"}', b"[" * 9999])
def test_a_body_that_is_no_json_object_is_refused(body):
    with pytest.raises(MeshError) as caught:
        asked_chat(body)

    assert caught.value.code is Code.INVALID_REQUEST


@pytest.mark.parametrize(
    ("code", "word"),
    [
        (Code.INVALID_REQUEST, "invalid_request_error"),
        (Code.MODEL_NOT_FOUND, "invalid_request_error"),
        (Code.QUEUE_FULL, "rate_limit_error"),
        (Code.NO_ENGINE, "server_error"),
    ],
)
def test_errors_wear_the_vendors_envelope(code, word):
    body = json.loads(envelope(MeshError(code, "Why.", param="n")))

    assert body == {"error": {"message": "Why.", "type": word, "param": "n", "code": code.word}}
