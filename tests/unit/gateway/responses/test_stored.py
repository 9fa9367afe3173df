"""What is stored: shown, listed, gone on from by any gateway, deleted, never lost in silence."""

import os
from contextlib import AsyncExitStack

import openai as openai_sdk
import pytest

from bus.large import PIECE
from proto.config import Config, KeyConfig
from proto.keys import hash_of
from proto.state import RESPONSES
from services.gateway.stored import store as storing
from tests.unit.gateway.responses.frames import called, ended, said, telling, thought
from tests.unit.gateway.scripted import MODEL

FUNCTION = {"type": "function", "name": "f", "parameters": None, "strict": False}


async def test_a_response_is_retrieved_as_it_was_answered(ask, strict):
    response = await ask()

    assert await strict.responses.retrieve(response.id) == response


async def test_a_streamed_response_is_there_before_its_stream_ends(stream, strict):
    last = (await stream())[-1].response

    assert await strict.responses.retrieve(last.id) == last


async def test_the_conversation_goes_on_at_another_gateway(ask, scripted, neighbour):
    scripted.script = telling(thought("Well"), said("Yes."), ended())
    first = await ask(instructions="Be brief.", input="One?")
    async with neighbour() as client:
        second = await client.responses.create(
            model=MODEL, input="Two?", previous_response_id=first.id, instructions="Be long."
        )
        await client.responses.create(model=MODEL, input="Three?", previous_response_id=second.id)

    assert second.previous_response_id == first.id
    two, three = (each.prompt.turns for each in scripted.asked[1:])
    assert [turn.content for turn in two] == ["Be long.", "One?", "Yes.", "Two?"]
    assert two[2].reasoning == "Well"
    assert [turn.content for turn in three] == ["One?", "Yes.", "Two?", "Yes.", "Three?"]


async def test_stored_responses_outlive_their_gateway(ask, strict, neighbour):
    async with neighbour() as client:
        response = await client.responses.create(model=MODEL, input="Hi")

    assert (await strict.responses.retrieve(response.id)).output_text == "Hello world"


async def test_the_input_is_listed_page_by_page(ask, strict):
    first = await ask(
        input=[{"role": "developer", "content": "Rule"}, {"role": "user", "content": "One"}]
    )
    second = await ask(input="Two", previous_response_id=first.id)
    items = [item async for item in strict.responses.input_items.list(second.id, limit=2)]
    oldest = await strict.responses.input_items.list(second.id, order="asc", limit=1)
    rest = await strict.responses.input_items.list(second.id, order="asc", after=oldest.data[0].id)

    assert [item.content[0].text for item in items] == ["Two", "Hello world", "One", "Rule"]
    assert [item.role for item in items] == ["user", "assistant", "user", "developer"]
    assert (oldest.data[0].content[0].text, oldest.has_more) == ("Rule", True)
    assert (len(rest.data), rest.has_more) == (3, False)
    assert len({item.id for item in items}) == 4


async def test_every_kind_of_input_item_is_listed_in_the_vendors_types(ask, strict):
    response = await ask(
        input=[
            {"role": "user", "content": "Hi"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]},
            {"type": "message", "role": "assistant", "content": "I will", "phase": "commentary"},
            {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
            {"type": "custom_tool_call", "call_id": "2", "name": "g", "input": "x"},
            {"type": "function_call_output", "call_id": "1", "output": "a"},
            {
                "type": "custom_tool_call_output",
                "call_id": "2",
                "output": [{"type": "input_text", "text": "b"}],
            },
        ]
    )
    page = await strict.responses.input_items.list(response.id, order="asc")

    assert [item.type for item in page.data] == [
        "message",
        "reasoning",
        "message",
        "function_call",
        "custom_tool_call",
        "function_call_output",
        "custom_tool_call_output",
    ]


async def test_items_are_referred_to_by_their_ids(ask, scripted):
    scripted.script = telling(thought("Well"), called(0, "{}", "f", "call_1"), ended("tool_calls"))
    first = await ask(tools=[FUNCTION])
    references = [{"type": "item_reference", "id": item.id} for item in first.output]
    output = {"type": "function_call_output", "call_id": "call_1", "output": "done"}
    await ask(input=[{"role": "user", "content": "Hi"}, *references, output])

    _, assistant, tool = scripted.asked[-1].prompt.turns
    assert (assistant.reasoning, assistant.calls[0].id) == ("Well", "call_1")
    assert tool.content == "done"


async def test_a_deleted_response_is_gone_and_those_after_it_are_not(ask, strict, http):
    first = await ask()
    second = await ask(previous_response_id=first.id)
    answer = await http.delete(f"/v1/responses/{first.id}")

    assert answer.json() == {"id": first.id, "object": "response", "deleted": True}
    with pytest.raises(openai_sdk.NotFoundError, match=first.id):
        await strict.responses.retrieve(first.id)
    with pytest.raises(openai_sdk.NotFoundError):
        await strict.responses.delete(first.id)
    assert (await ask(previous_response_id=second.id)).status == "completed"


async def test_what_is_not_to_be_stored_is_not(ask, strict):
    response = await ask(store=False)

    assert response.store is False
    with pytest.raises(openai_sdk.NotFoundError):
        await strict.responses.retrieve(response.id)
    with pytest.raises(openai_sdk.BadRequestError) as refused:
        await ask(previous_response_id=response.id)
    assert refused.value.code == "previous_response_not_found"
    assert refused.value.param == "previous_response_id"


async def test_a_response_of_any_size_is_stored(ask, strict, scripted):
    text = os.urandom(2 * PIECE).hex()[: 3 * PIECE]
    scripted.script = telling(said("Long."), ended())
    first = await ask(input=[{"role": "user", "content": text}])
    await ask(input="Go on", previous_response_id=first.id)

    assert scripted.asked[-1].prompt.turns[0].content == text


async def test_an_answer_that_cannot_be_stored_says_so(ask, strict, monkeypatch):
    async def away(*_):
        raise storing.NotConnected("the state is away")

    monkeypatch.setattr(storing.LargeBucket, "swap", away)
    response = await ask()

    assert (response.output_text, response.store) == ("Hello world", False)


async def test_responses_are_kept_for_as_long_as_was_set(nats_url, bus, ask):
    await ask()
    config = (await bus.jetstream.stream_info(f"KV_{RESPONSES}")).config

    assert (config.max_age, config.max_bytes) == (30 * 86_400, 2**30)


async def test_a_stored_response_is_told_once_more(stream, strict, scripted):
    scripted.script = telling(
        thought("Well"), said("Yes."), called(0, '{"a":1}', "f", "call_1"), ended("tool_calls")
    )
    live = await stream(tools=[FUNCTION])
    told = [e async for e in await strict.responses.retrieve(live[-1].response.id, stream=True)]
    later = await strict.responses.retrieve(live[-1].response.id, stream=True, starting_after=3)

    assert [event.to_dict() for event in told] == [event.to_dict() for event in live]
    assert (await anext(aiter(later))).sequence_number == 4


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/responses/resp_none", 404),
        ("GET", "/v1/responses/a.b*", 404),
        ("DELETE", "/v1/responses/resp_none", 404),
        ("POST", "/v1/responses/resp_none/cancel", 404),
        ("GET", "/v1/responses/resp_none/input_items", 404),
        ("GET", "/v1/responses/resp_none/elsewhere", 404),
        ("GET", "/v1/responses", 405),
        ("POST", "/v1/responses/resp_none", 405),
        ("GET", "/v1/responses/input_tokens/", 405),
    ],
)
async def test_what_is_not_there_is_refused_in_the_dialect(http, method, path, status):
    answer = await http.request(method, path)

    assert answer.status_code == status
    assert answer.json()["error"]["message"]


@pytest.mark.parametrize("query", ["limit=x", "limit=101", "order=up", "after=nobody"])
async def test_a_senseless_page_is_refused(ask, http, query):
    response = await ask()
    answer = await http.get(f"/v1/responses/{response.id}/input_items?{query}")

    assert (answer.status_code, answer.json()["error"]["param"]) == (400, query.partition("=")[0])


async def test_only_background_responses_can_be_cancelled(ask, strict):
    response = await ask()

    with pytest.raises(openai_sdk.BadRequestError, match="background"):
        await strict.responses.cancel(response.id)


@pytest.fixture
async def two_owners(decide, url):
    """Clients with the keys of Ann, of Ann's other machine, and of Bob."""
    keys = {
        name: KeyConfig(sha256=hash_of(name.encode()), owner=owner)
        for name, owner in (("ann", "ann"), ("ann-too", "ann"), ("bob", "bob"))
    }
    await decide(Config(keys=keys, others=KeyConfig(scopes=["models"])))
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(
                openai_sdk.AsyncOpenAI(base_url=f"{url}/v1", api_key=name, max_retries=0)
            )
            for name in keys
        ]


@pytest.mark.parametrize("is_left", [False, True])
async def test_a_response_is_its_owners_alone(two_owners, is_left):
    ann, ann_too, bob = two_owners
    made = await ann.responses.create(model=MODEL, input="Hi", background=is_left)

    assert (await ann_too.responses.retrieve(made.id)).id == made.id
    for attempt in (
        bob.responses.retrieve(made.id),
        bob.responses.delete(made.id),
        bob.responses.cancel(made.id),
        bob.responses.input_items.list(made.id),
        bob.responses.create(
            model=MODEL,
            input=[{"type": "item_reference", "id": f"msg_{made.id.removeprefix('resp_')}_0"}],
        ),
    ):
        with pytest.raises(openai_sdk.NotFoundError):
            await attempt
    with pytest.raises(openai_sdk.BadRequestError, match="not found"):
        await bob.responses.create(model=MODEL, input="And?", previous_response_id=made.id)
    assert (await ann.responses.retrieve(made.id)).id == made.id
