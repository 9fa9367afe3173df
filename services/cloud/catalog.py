"""What an upstream has: its models appear with it, and vanish with it."""

import asyncio
import logging

import httpx

from proto.ids import ModelId
from proto.presence import ModelCard
from services.cloud.openai import OpenAIUpstream

log = logging.getLogger(__name__)

AGAIN_S = 60.0
RETRY_S = 5.0
UNKNOWN_CONTEXT = 0


class Catalog:
    """One upstream's models, as cards."""

    def __init__(self, name: str, client: OpenAIUpstream) -> None:
        self.cards: tuple[ModelCard, ...] = ()
        self.has_looked = asyncio.Event()
        """Set when the upstream was asked for the first time, whatever it said."""
        self._name = name
        self._client = client

    async def keep(self) -> None:
        """Ask again and again, for ever."""
        while True:
            try:
                entries = await self._client.catalog()
                self.cards = tuple(self._card(str(entry["id"]), entry) for entry in entries)
                wait_s = AGAIN_S
            except (httpx.HTTPError, KeyError, TypeError, ValueError) as error:
                log.warning("no catalog of %s: %s", self._name, error)
                self.cards, wait_s = (), RETRY_S
            self.has_looked.set()
            await asyncio.sleep(wait_s)

    def _card(self, id: str, entry: dict[str, object]) -> ModelCard:
        context = entry.get("context_length")
        known = entry.get("supported_parameters")
        can = known if isinstance(known, list) else ()
        return ModelCard(
            id=ModelId(f"{self._name}:{id}"),
            context_length=context if isinstance(context, int) else UNKNOWN_CONTEXT,
            owner=f"odyssai-cloud-{self._name}",
            calls_tools="tools" in can,
            reasons="reasoning" in can,
            keeps_formats="structured_outputs" in can,
        )
