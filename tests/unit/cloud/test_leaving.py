"""What is near and what is away."""

import pytest

from services.cloud.leaving import leaves


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "localhost", "mac.localhost", "10.1.2.3", "172.16.0.9", "192.168.1.7",
        "169.254.3.4", "[::1]", "[fe80::1]", "[fd12::1]", "[::ffff:10.0.0.1]", "studio.local",
        "studio.local.", "Studio.LOCAL",
    ],
)  # fmt: skip
def test_private_addresses_and_names_of_this_network_are_near(host: str) -> None:
    assert not leaves("openai-compatible", f"http://{host}:8000/v1")


@pytest.mark.parametrize(
    "host",
    [
        "api.example.com", "8.8.8.8", "172.32.0.1", "100.64.0.1", "0.0.0.0", "[2606:4700::1]",
        "[::ffff:8.8.8.8]", "nas", "local", "localhost.example.com", "studio.local.example.com",
        "10.1.2.3.example.com",
    ],
)  # fmt: skip
def test_whatever_is_not_plainly_near_is_away(host: str) -> None:
    assert leaves("openai-compatible", f"http://{host}/v1")


@pytest.mark.parametrize("vendor", ["openai", "anthropic", "openrouter"])
def test_a_vendor_is_away_however_it_is_reached(vendor: str) -> None:
    assert leaves(vendor, "http://127.0.0.1:9/v1")
