"""Tokens of texts and texts of tokens, in the words of vLLM and of llama.cpp."""

import pytest

from proto.prompt import Chat, Text
from proto.subjects import ENGINE_BEAT
from tests.unit.gateway.scripted import ALIAS, MODEL

HI = [{"role": "user", "content": "Hi"}]


async def test_a_prompt_is_tokenised(http, scripted):
    answer = await http.post("/tokenize", json={"model": ALIAS, "prompt": "Hé"})

    assert answer.json() == {
        "count": 3,
        "max_model_len": 2048,
        "tokens": [1, 72, 233],
        "token_strs": None,
    }
    assert scripted.read[0].prompt == Text(text="Hé")


async def test_pieces_are_shown_and_specials_left_out_on_demand(http):
    asked = {"prompt": "Hé", "return_token_strs": True, "add_special_tokens": False}
    answer = (await http.post("/v1/tokenize", json={"model": MODEL} | asked)).json()

    assert (answer["tokens"], answer["token_strs"]) == ([72, 233], ["H", "é"])


async def test_llama_cpps_words_need_no_model_where_there_is_one(http):
    plain = (await http.post("/tokenize", json={"content": "Hi"})).json()
    special = (await http.post("/tokenize", json={"content": "Hi", "add_special": True})).json()
    back = (await http.post("/detokenize", json={"tokens": plain["tokens"]})).json()

    assert (plain["tokens"], special["tokens"]) == ([72, 105], [1, 72, 105])
    assert back == {"prompt": "Hi", "content": "Hi"}


async def test_a_conversation_is_read_as_the_chat_endpoint_reads_it(http, scripted):
    answer = await http.post("/tokenize", json={"model": MODEL, "messages": HI})

    assert answer.status_code == 200
    assert isinstance(scripted.read[0].prompt, Chat)
    assert [turn.role for turn in scripted.read[0].prompt.turns] == ["user"]


async def test_without_a_model_there_must_be_just_one(http, scripted, bus):
    other = scripted.beat(engine="n1.e7", boot="b7")
    second = type(other.models[0])(id="second", context_length=1)
    while "second" not in (await http.get("/v1/models")).text:
        beat = scripted.beat(engine="n1.e7", boot="b7", models=(second,))
        await bus.publish(ENGINE_BEAT, beat, "n1.e7")
        await bus.settled()
    answer = await http.post("/tokenize", json={"content": "Hi"})

    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "model"


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "prompt"),
        ("/tokenize", {"prompt": "a", "content": "a"}, "prompt"),
        ("/tokenize", {"prompt": 5}, "prompt"),
        ("/tokenize", {"messages": []}, "messages"),
        ("/tokenize", {"messages": [{"role": "user"}]}, "messages[0].content"),
        ("/tokenize", {"messages": HI, "add_generation_prompt": False}, "add_generation_prompt"),
        ("/tokenize", {"prompt": "a", "with_pieces": True}, "with_pieces"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/detokenize", {"tokens": "x"}, "tokens"),
        ("/detokenize", {}, "tokens"),
    ],
)
async def test_what_makes_no_sense_is_refused_by_name(http, path, body, param):
    answer = await http.post(path, json={"model": MODEL} | body)

    assert answer.status_code == 400
    assert answer.json()["error"]["param"].startswith(param)


async def test_an_unknown_model_is_a_404(http, choosy):
    answer = await http.post("/tokenize", json={"model": "absent", "prompt": "a"})

    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
