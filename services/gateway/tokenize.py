"""POST /tokenize and /detokenize: by an engine, with the model's own tokenizer."""

from functools import partial

import msgspec

from bus import tracing
from bus.fleet import Fleet, card_of
from proto.dialects.asked import invalid
from proto.dialects.tokens import Detokenization, Tokenization, asked_text, asked_tokens
from proto.ids import ModelId
from proto.subjects import DETOKENIZE, TOKENIZE
from proto.tokenization import Detokenize, Tokenize
from services.gateway.asking.mesh import accept_s, size
from services.gateway.gateway import Gateway
from services.gateway.generate import expect_fitting, expect_json
from services.gateway.http.exchange import Exchange


async def tokenize(gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError, ClientLeft."""
    body = await exchange.body(gateway.settings.body_limit_bytes)
    expect_json(exchange)
    asked = asked_tokens(body)
    prompt = asked.read()
    expect_fitting(prompt, gateway.settings.prompt_limit_chars)
    model = _model(gateway, exchange, asked.model)
    tracing.begin(exchange.header(b"traceparent"))
    async with exchange, gateway.images.held(model, (prompt,), gateway.fleet) as (shown,):
        question = Tokenize(
            model=model, prompt=shown, with_specials=asked.wants_specials, gateway=gateway.id
        )
        found = await gateway.mesh.ask(
            TOKENIZE, question, model, size(shown), wait_s=accept_s(shown)
        )
        pieces = [piece.decode(errors="replace") for piece in found.pieces]
        answer = Tokenization(
            count=len(found.tokens),
            max_model_len=_context(gateway.fleet, model),
            tokens=list(found.tokens),
            token_strs=pieces if asked.return_token_strs else None,
        )
        await exchange.reply(200, msgspec.json.encode(answer))


async def detokenize(gateway: Gateway, exchange: Exchange) -> None:
    """Raises MeshError, ClientLeft."""
    body = await exchange.body(gateway.settings.body_limit_bytes)
    expect_json(exchange)
    asked = asked_text(body)
    model = _model(gateway, exchange, asked.model)
    question = Detokenize(model=model, tokens=tuple(asked.tokens))
    tracing.begin(exchange.header(b"traceparent"))
    async with exchange:
        found = await gateway.mesh.ask(DETOKENIZE, question, model, 4 * len(asked.tokens))
        answer = Detokenization(found.text, found.text)
        await exchange.reply(200, msgspec.json.encode(answer))


def _model(gateway: Gateway, exchange: Exchange, named: str | None) -> ModelId:
    """The named one, or the only one that the client may use. Raises MeshError when that does not
    tell.
    """
    if named is not None:
        return gateway.model_for(exchange, named)
    may_use = partial(gateway.entrance.may_use, exchange)
    there = [card.id for card in gateway.fleet.models() if may_use(card.id)]
    if len(there) != 1:
        raise invalid(f"`model` is required where there are {len(there)}; add it.", "model")
    return there[0]


def _context(fleet: Fleet, model: str) -> int:
    cards = (card_of(beat, model) for beat in fleet.engines())
    return next((card.context_length for card in cards if card is not None), 0)
