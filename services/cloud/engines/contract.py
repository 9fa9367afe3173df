"""What engines of the OdyssAI family tell at one address: who they are, and what they can do."""

from typing import Any

from services.cloud.engines.probe import Probe

WELL_KNOWN = "/.well-known/inference-engine.json"


async def contract_of(probe: Probe) -> dict[str, Any] | None:
    told = await probe.find(WELL_KNOWN)
    return told if isinstance(told, dict) else None


def name_of(contract: dict[str, Any]) -> str:
    """In small letters; Telemak says it in ``engine``, OdyssAI-X in ``name``."""
    return str(contract.get("engine") or contract.get("name") or "").lower()


def version_of(contract: dict[str, Any]) -> str:
    return str(contract.get("version") or "")
