"""What a request took, whatever became of it."""

from collections.abc import Sequence

import pytest

from proto.dialects.asked import Asked
from proto.errors import Code
from proto.frames import AnyFrame, CallDelta, Delta, End, Progress, Timings, Usage
from proto.ids import GatewayId, ModelId, RequestId
from proto.price import Price
from proto.prompt import Text
from proto.usage import Amounts
from services.gateway.answering.record import Record
from services.gateway.metering.tariff import Tariff
from services.gateway.openai import ChatCompletions

PRICE = Price(prompt=1.0, completion=10.0, cached=0.1)
OWN = Tariff(ModelId("tiny"), price=PRICE)
CLOUD = Tariff(ModelId("or:big"), "or", PRICE, leaves=True)
PROMPT = "x" * 41
"""Eleven tokens, where nobody counts them."""


def end(usage: Usage) -> End:
    return End(0, 9, "stop", usage, Timings(0, 0, 0))


def record(tariff: Tariff | None, *choices: Sequence[AnyFrame], status: str = "ok") -> Record:
    made = Record(RequestId("r"), ChatCompletions())
    made.understood(
        Asked(model=ModelId("tiny"), prompts=(Text(text=PROMPT),), n=max(1, len(choices)))
    )
    made.tariff, made.status = tariff, status
    for choice, frames in enumerate(choices):
        made.seen(choice, list(frames))
        if frames and isinstance(frames[-1], End):
            made.end(choice, frames[-1])
    return made


WHOLE = (Delta(0, 1, "Calm", ()), end(Usage(1000, 10, 400)))


@pytest.mark.parametrize(
    ("tariff", "choices", "status", "took"),
    [
        # Counted by who served it.
        (CLOUD, [WHOLE], "ok", Amounts(1, 1000, 10, 400, 0, 740_000)),
        (OWN, [WHOLE], "ok", Amounts(1, 1000, 10, 400, 0, 740_000)),
        # A provider reads its prompt for each choice; our engines do once.
        (CLOUD, [WHOLE, WHOLE], "ok", Amounts(1, 2000, 20, 800, 0, 1_480_000)),
        (OWN, [WHOLE, WHOLE], "ok", Amounts(1, 1000, 20, 400, 0, 840_000)),
        # Cut on our engine: as much as was read and made.
        (
            OWN,
            [[Progress(0, 0, 50, 50, 20), Delta(0, 1, "Calm seas", (1, 2))]],
            "cancelled",
            Amounts(1, 50, 2, 20, 0, 52_000),
        ),
        # Cut at a provider's: what arrived, and the prompt.
        (
            CLOUD,
            [[Progress(0, 0, 0, 0, 0), Delta(0, 1, "Calm seas", ())]],
            "cancelled",
            Amounts(1, 11, 3, 0, 0, 41_000, estimated=1),
        ),
        (
            CLOUD,
            [[Progress(0, 0, 70, 70, 0), CallDelta(0, 1, 0, "c", "name", "{}", ())]],
            Code.UPSTREAM.word,
            Amounts(1, 70, 2, 0, 0, 90_000, estimated=1),
        ),
        # One that was cut before it said anything was read all the same.
        (CLOUD, [[Progress(0, 0, 0, 0, 0)]], "cancelled", Amounts(1, 11, 0, 0, 0, 11_000, 1)),
        # It ended without a word of its tokens.
        (
            CLOUD,
            [[Delta(0, 1, "Calm seas", ()), end(Usage(0, 0, 0))]],
            "ok",
            Amounts(1, 11, 3, 0, 0, 41_000, estimated=1),
        ),
        # Refused: nothing was taken, and nothing is written down.
        (CLOUD, [], Code.UPSTREAM.word, None),
        (OWN, [], Code.INVALID_REQUEST.word, None),
        (None, [], Code.QUEUE_FULL.word, None),
    ],
)
def test_what_is_counted(
    tariff: Tariff | None, choices: list[Sequence[AnyFrame]], status: str, took: Amounts | None
) -> None:
    assert record(tariff, *choices, status=status).amounts() == took


def test_what_a_provider_charged_wins_over_the_table() -> None:
    said = [end(Usage(1000, 10, 400, cost_nano_usd=5))]

    amounts = record(CLOUD, said).amounts()
    assert amounts
    assert (amounts.cost_nano_usd, amounts.unpriced) == (5, 0)


def test_what_leaves_without_a_price_is_counted_apart_and_what_stays_costs_nothing() -> None:
    cloud = record(Tariff(ModelId("or:big"), "or", leaves=True), WHOLE)
    near = record(Tariff(ModelId("lab:big"), "lab"), WHOLE)
    own = record(Tariff(ModelId("tiny")), WHOLE)

    assert cloud.amounts() == Amounts(1, 1000, 10, 400, unpriced=1)
    assert own.amounts() == near.amounts() == Amounts(1, 1000, 10, 400)
    assert cloud.event(GatewayId("g.1")).cost_usd is None


def test_what_was_read_for_vectors_is_no_estimate() -> None:
    made = record(CLOUD)
    made.counted(7)

    assert made.amounts() == Amounts(1, 7, 0, 0, 0, 7_000)


def test_the_event_says_who_served_and_what_it_cost() -> None:
    event = record(CLOUD, WHOLE).event(GatewayId("g.1"))

    assert (event.model, event.served, event.provider) == ("tiny", "or:big", "or")
    assert (event.cost_usd, event.prompt_tokens, event.is_estimated) == (0.00074, 1000, False)
    assert record(CLOUD, WHOLE).attributes()["odyssai.cost_usd"] == 0.00074


def test_limits_hear_of_a_prompt_once() -> None:
    """Of our engines' when they have read it, of a provider's at the end."""
    assert record(OWN, WHOLE).unspent() == 10
    assert record(CLOUD, WHOLE).unspent() == 1010
