"""mlx-lm's own server, https://github.com/ml-explore/mlx-lm/blob/main/mlx_lm/SERVER.md .

It lists what the hub's cache holds beside what it was started with, and loads any name that it is
asked for, from the hub if need be: only what it lists is asked for.
"""

from proto.config import ProviderKind
from proto.ids import ModelId
from proto.presence import ModelCard
from services.cloud.engines.kind import Look, loads_by_itself, unreadable
from services.cloud.engines.manners import OPENAI, Manners, by_template, plain
from services.cloud.engines.probe import Probe

WIDE = 1 << 20
"""Tokens that penalties look back on; without a word it is 20."""
MANNERS = Manners(
    title="mlx_lm.server",
    sampling=OPENAI | plain("min_p", "top_k", "repetition_penalty", "logit_bias"),
    always=("temperature", "top_p", "min_p", "top_k"),
    penalised={
        "repetition_context_size": WIDE, "presence_context_size": WIDE,
        "frequency_context_size": WIDE,
    },
    chooses_tools=False,
    limits_calls=False,
    thinking=by_template,
    default_tokens=WIDE,
)  # fmt: skip


class MlxLm:
    """A Kind."""

    word: ProviderKind = "mlx-lm"
    title = "mlx_lm.server"
    manners = MANNERS

    async def recognise(self, probe: Probe) -> str | None:
        health, listed = await probe.find("/health"), await probe.find("/v1/models")
        try:
            entries = listed["data"]
            bare = all(entry.keys() == {"id", "object", "created"} for entry in entries)
        except (KeyError, TypeError, AttributeError):
            return None
        return "" if entries and bare and health == {"status": "ok"} else None

    async def look(self, probe: Probe) -> Look:
        listed = await probe.find("/v1/models")
        try:
            cards = tuple(
                ModelCard(id=ModelId(entry["id"]), context_length=0, created_s=entry["created"])
                for entry in listed["data"]
            )
        except (KeyError, TypeError, ValueError) as error:
            raise unreadable(self.title, error) from error
        return Look(cards=cards, manners=MANNERS)

    async def load(self, probe: Probe, model: ModelId) -> None:
        raise loads_by_itself(self.title)

    async def unload(self, probe: Probe, model: ModelId) -> None:
        raise loads_by_itself(self.title)
