"""Who may read and write providers' keys."""

import pytest

from bus.permissions import of
from proto.credentials import Holder


def says(role: str, name: str = "home") -> list[str]:
    told: list[str] = of(Holder(role, name))["publish"]["allow"]  # type: ignore[arg-type]
    return told


def test_a_cloud_service_is_a_vault_under_its_own_name_only() -> None:
    assert "$KV.vaults.two" in says("cloud", "two")
    assert not any(each.startswith("$KV.vaults") for each in says("gateway"))


def test_a_gateway_writes_sealed_keys_and_no_catalog() -> None:
    assert "$KV.provider_keys.*.*" in says("gateway")
    assert not any("catalogs" in each for each in says("gateway"))


@pytest.mark.parametrize("role", ["runner", "scheduler", "health", "ops", "guest"])
def test_others_do_not_even_see_what_is_sealed(role: str) -> None:
    assert not any("provider_keys" in each or "vaults" in each for each in says(role))
