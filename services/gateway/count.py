"""POST /v1/messages/count_tokens: counted by an engine, with the model's own tokenizer."""

import msgspec
from msgspec.structs import replace

from bus import tracing
from proto.dialects import anthropic
from services.gateway.defaults import with_prompt_defaults
from services.gateway.gateway import Gateway
from services.gateway.generate import default_model, expect_fitting, expect_json
from services.gateway.http.exchange import Exchange
from services.gateway.volatile import steady


async def count_tokens(gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError, ClientLeft."""
    body = await exchange.body(gateway.settings.body_limit_bytes)
    expect_json(exchange)
    asked = anthropic.asked_count(body)
    model = gateway.model_for(exchange, asked.model or default_model(gateway))
    prompt = with_prompt_defaults(asked.prompt, gateway.model_config(model, asked.model))
    question = replace(
        asked,
        model=model,
        prompt=prompt,
        request=exchange.id,
        key=gateway.entrance.caller(exchange).key,
        local_only=gateway.entrance.is_local_only(exchange),
    )
    if not gateway.settings.keeps_volatile_lines:
        question = replace(question, prompt=steady(question.prompt))
    expect_fitting(question.prompt, gateway.settings.prompt_limit_chars)
    tracing.begin(exchange.header(b"traceparent"))
    async with exchange:
        counted = await gateway.count(question)
        await exchange.reply(200, msgspec.json.encode(anthropic.TokenCount(counted.tokens)))
