"""What every request passes that takes something of an engine: who asks, and whether it may."""

import math
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from proto.placement import Priority
from services.gateway.http.exchange import Exchange
from services.gateway.keys.budgets import Budgets
from services.gateway.keys.caller import Caller, Claim, claim_of
from services.gateway.keys.limits import Allowance, Limits, Standing


def admitted(
    limits: Limits, budgets: Budgets, caller: Caller, exchange: Exchange, asked: Priority
) -> Claim:
    """Whatever comes of it, the response tells how much is left. Raises MeshError.

    ``asked`` is how urgent the body says that it is.
    """
    claim = claim_of(caller, exchange.headers, asked)
    said = exchange.standing
    try:
        budgets.admit(caller)
        limits.admit(caller)
    finally:
        tell = _anthropic if exchange.speaks_anthropic else _openai
        exchange.standing = [*said, *tell(limits.standing(caller))]
    return claim


def _openai(standing: Standing) -> Iterator[tuple[bytes, bytes]]:
    for kind, allowance in _kinds(standing):
        yield f"x-ratelimit-limit-{kind}".encode(), b"%d" % allowance.limit
        yield f"x-ratelimit-remaining-{kind}".encode(), b"%d" % allowance.remaining
        yield f"x-ratelimit-reset-{kind}".encode(), b"%ds" % math.ceil(allowance.reset_s)


def _anthropic(standing: Standing) -> Iterator[tuple[bytes, bytes]]:
    for kind, allowance in _kinds(standing):
        at = datetime.fromtimestamp(math.ceil(time.time() + allowance.reset_s), UTC)
        yield f"anthropic-ratelimit-{kind}-limit".encode(), b"%d" % allowance.limit
        yield f"anthropic-ratelimit-{kind}-remaining".encode(), b"%d" % allowance.remaining
        reset = at.isoformat().replace("+00:00", "Z").encode()
        yield f"anthropic-ratelimit-{kind}-reset".encode(), reset


def _kinds(standing: Standing) -> Iterator[tuple[str, Allowance]]:
    if standing.requests is not None:
        yield "requests", standing.requests
    if standing.tokens is not None:
        yield "tokens", standing.tokens
