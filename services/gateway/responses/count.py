"""POST /v1/responses/input_tokens: counted by an engine, with the model's own tokenizer."""

from functools import partial

import msgspec

from bus import tracing
from proto.dialects.responses.request import count_request
from proto.dialects.responses.response import TokenCount
from proto.effective import value
from proto.tokenization import CountTokens
from services.gateway.asking.placing import first_that_chats
from services.gateway.defaults import with_prompt_defaults
from services.gateway.gateway import Gateway
from services.gateway.generate import expect_fitting, expect_json
from services.gateway.http.exchange import Exchange
from services.gateway.responses.conversation import conversation


async def count_input(gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError, ClientLeft."""
    body = await exchange.body(gateway.settings.body_limit_bytes)
    expect_json(exchange)
    request = count_request(body)
    owner = gateway.entrance.caller(exchange).owner
    said = await conversation(
        gateway.background, request.input, request.previous_response_id, exchange.id, owner
    )
    named = request.model or value(gateway.config.effective.default_model, "")
    may_use = partial(gateway.entrance.may_use, exchange)
    model = gateway.model_for(exchange, named or first_that_chats(gateway.fleet, may_use))
    prompt = request.chat(said.items, request.offered())
    question = CountTokens(
        model=model,
        prompt=with_prompt_defaults(prompt, gateway.model_config(model, named)),
        request=exchange.id,
        key=gateway.entrance.caller(exchange).key,
        local_only=gateway.entrance.is_local_only(exchange),
    )
    expect_fitting(question.prompt, gateway.settings.prompt_limit_chars)
    tracing.begin(exchange.header(b"traceparent"))
    async with exchange:
        counted = await gateway.count(question, "input")
        await exchange.reply(200, msgspec.json.encode(TokenCount(counted.tokens)))
