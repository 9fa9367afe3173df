"""Who may administer the mesh."""

from typing import Any

import pytest

from proto.errors import MeshError
from services.gateway.admin.access import Caller, admit

HERE = {"peer": "127.0.0.1", "host": "127.0.0.1:8000"}
REMOTE = {"peer": "192.0.2.7", "host": "studio.local:8000"}
TOKEN = "s3cret-of-mine"
SHOWN = {"authorization": f"Bearer {TOKEN}"}


def refusal(token: str = "", **shown: Any) -> str:
    with pytest.raises(MeshError) as caught:
        admit(Caller(**shown), token)
    return f"{caught.value.code.status} {caught.value.message}"


@pytest.mark.parametrize(
    "shown",
    [
        HERE,
        {"peer": "::1", "host": "[::1]:8000"},
        {"peer": "::ffff:127.0.0.1", "host": "localhost"},
        {"peer": "127.0.0.5", "host": "mesh.localhost:8000"},
        HERE | {"origin": "http://127.0.0.1:8000", "site": "same-origin"},
    ],
)
def test_whoever_is_on_this_machine_may_when_there_is_no_token(shown: dict[str, Any]) -> None:
    admit(Caller(**shown), "")


@pytest.mark.parametrize("peer", ["192.0.2.7", "10.0.0.2", "fe80::1", ""])
def test_another_machine_may_not_without_a_token(peer: str) -> None:
    assert refusal(peer=peer, host="127.0.0.1").startswith("403 Without ODYSSAI_ADMIN_TOKEN")


def test_what_a_proxy_on_this_machine_relays_is_not_from_this_machine() -> None:
    assert refusal(**HERE, is_relayed=True).startswith("403 Without ODYSSAI_ADMIN_TOKEN")


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "127.0.0.1.evil.example", "", "[::", "10.0.0.1"]
)
def test_a_name_that_was_made_to_lead_here_is_refused(host: str) -> None:
    assert refusal(peer="127.0.0.1", host=host).startswith("403 The mesh is not administered under")


@pytest.mark.parametrize(
    "page",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:3000"},
        {"site": "cross-site"},
        {"site": "same-site"},
    ],
)
@pytest.mark.parametrize("token", ["", TOKEN])
def test_a_page_of_another_origin_may_not_even_with_the_token(
    page: dict[str, str], token: str
) -> None:
    assert refusal(token, **HERE, **SHOWN, **page).startswith("403 A web page")


def test_whoever_shows_the_token_may_from_anywhere() -> None:
    admit(Caller(**REMOTE, **SHOWN), TOKEN)
    admit(Caller(**REMOTE, **SHOWN, origin="https://studio.local:8000", is_relayed=True), TOKEN)


@pytest.mark.parametrize(
    "authorization", ["", TOKEN, f"Basic {TOKEN}", "Bearer", "Bearer s3cret", "Bearer \u00fcber"]
)
def test_with_a_token_nobody_may_without_it(authorization: str) -> None:
    assert refusal(TOKEN, **HERE, authorization=authorization).startswith("401 ")
