"""Who may what, by where a request comes from and the key that it shows."""

import hmac
from datetime import UTC, datetime
from typing import Any

import pytest

from proto.config import Config, KeyConfig
from proto.errors import Code, MeshError
from proto.keys import FreshKey, KeyRecord, fresh_key, hash_of
from services.gateway.http.client import Client
from services.gateway.keys import ring as rings
from services.gateway.keys.attempts import LIMIT, WINDOW_S, Attempts
from services.gateway.keys.guard import Asked, Guard
from services.gateway.keys.ring import KeyRing

HERE = {"peer": "127.0.0.1", "host": "127.0.0.1:8000"}
REMOTE = {"peer": "192.0.2.7", "host": "studio.local:8000"}
TOKEN = "s3cret-of-mine"
INFERENCE = Asked("inference", is_administration=False)
MODELS = Asked("models", is_administration=False)
ADMIN = Asked("admin", is_administration=True)
LOOK = Asked("telemetry", is_administration=True)
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


class House:
    """A gateway's guard, the keys that were made, and a clock."""

    def __init__(
        self, config: Config | None = None, token: str = "", is_local: bool = True
    ) -> None:
        self.config = config or Config()
        self.lost: list[str] = []
        self.ring = KeyRing(lambda: self.config, self.lost.append)
        self.now = NOON.timestamp()
        self.attempts = Attempts(lambda: self.now)
        self.is_ready = True
        self.guard = Guard(self.ring, self.attempts, token, lambda: self.is_ready, lambda: self.now)
        self.guard.is_local = is_local
        self.ring.look()

    def make(self, name: str, **settings: Any) -> bytes:
        key = fresh_key()
        self.keep(name, key, KeyConfig(sha256=key.sha256, **settings))
        return key.text.encode()

    def keep(self, name: str, key: FreshKey, config: KeyConfig) -> None:
        record = KeyRecord(prefix=key.prefix, config=config, created_s=0.0)
        self.ring.made.records = {**self.ring.made.records, name: record}
        self.ring.look()

    def admit(self, asked: Asked, shown: bytes = b"", **client: Any) -> str:
        return self.guard.admit(Client(**(client or REMOTE)), shown, asked).key

    def refusal(self, asked: Asked, shown: bytes = b"", **client: Any) -> str:
        with pytest.raises(MeshError) as caught:
            self.admit(asked, shown, **client)
        return f"{caught.value.code.status} {caught.value.message}"


def test_without_any_key_whoever_reaches_loopback_is_served() -> None:
    house = House()

    assert house.admit(INFERENCE, **HERE) == "anonymous"
    assert house.admit(MODELS, b"whatever", **HERE).startswith("key-")
    assert house.admit(ADMIN, **HERE) == "local"
    assert house.guard.access == "local"


def test_beyond_loopback_nobody_is_served_without_a_key() -> None:
    house = House(is_local=False)

    assert not house.guard.is_guarded
    assert house.refusal(INFERENCE).startswith("401 This takes an API key with the scope inference")
    assert house.refusal(INFERENCE, **HERE).startswith("401 ")
    assert house.refusal(MODELS, b"x").startswith("401 Incorrect API key")


def test_with_a_key_loopback_takes_one_as_well() -> None:
    house = House()
    key = house.make("ci")

    assert house.guard.access == "keys"
    assert house.refusal(INFERENCE, **HERE).startswith("401 ")
    assert house.refusal(ADMIN, **HERE).startswith("401 ")
    assert house.admit(INFERENCE, key, **HERE) == "ci"


def test_a_key_that_expired_opens_nothing_and_does_not_open_the_mesh_either() -> None:
    house = House()
    key = house.make("ci", expires=NOON)

    assert house.refusal(INFERENCE, key).startswith(
        "401 The API key ci expired at 2026-11-26 12:00"
    )
    assert house.refusal(INFERENCE, **HERE).startswith("401 ")
    house.now -= 1
    assert house.admit(INFERENCE, key) == "ci"


def test_nobody_is_let_in_before_it_is_known_which_keys_there_are() -> None:
    house = House(token=TOKEN)
    house.is_ready = False

    assert house.refusal(INFERENCE, **HERE).startswith("503 ")
    assert house.admit(ADMIN, TOKEN.encode()) == "admin-token"


def test_strangers_are_served_where_the_operator_says_so_and_never_administer() -> None:
    others = KeyConfig(scopes=["inference", "admin"], models=["small*"])
    house = House(Config(others=others), is_local=False)
    house.make("ci")

    assert house.guard.access == "open"
    assert house.admit(INFERENCE) == "anonymous"
    assert house.refusal(MODELS).startswith("401 ")
    assert house.refusal(ADMIN).startswith("401 ")
    assert house.guard.judge(Client(**REMOTE), b"", INFERENCE).models == ("small*",)


def test_limits_of_others_let_nobody_in() -> None:
    house = House(Config(others=KeyConfig(requests_per_minute=9)), is_local=False)

    assert house.refusal(INFERENCE).startswith("401 ")
    assert not house.guard.is_guarded


@pytest.mark.parametrize(
    ("scopes", "may"),
    [
        (None, {"inference", "models"}),
        ([], set()),
        (["inference"], {"inference"}),
        (["telemetry"], {"telemetry"}),
        (["admin"], {"admin", "models", "telemetry"}),
    ],
)
def test_a_key_may_what_its_scopes_say(scopes: Any, may: set[str]) -> None:
    house = House()
    key = house.make("ci", scopes=scopes)

    for scope in ("inference", "models", "telemetry", "admin"):
        asked = Asked(scope, is_administration=scope == "admin")  # type: ignore[arg-type]
        if scope in may:
            assert house.admit(asked, key) == "ci"
        else:
            told = house.refusal(asked, key)
            assert told.startswith("403 The key ci may do")
            assert f"--scope {scope}" in told


def test_the_admin_token_is_one_more_key_of_an_administrator() -> None:
    house = House(token=TOKEN, is_local=False)

    assert house.guard.is_guarded
    assert house.admit(ADMIN, TOKEN.encode()) == "admin-token"
    assert house.admit(LOOK, TOKEN.encode()) == "admin-token"
    assert house.refusal(INFERENCE, TOKEN.encode()).startswith("403 ")
    for shown in (b"", b"s3cret", TOKEN.upper().encode(), "über".encode()):
        assert house.refusal(ADMIN, shown, **HERE).startswith("401 ")


@pytest.mark.parametrize(
    "client",
    [
        HERE,
        {"peer": "::1", "host": "[::1]:8000"},
        {"peer": "::ffff:127.0.0.1", "host": "localhost"},
        {"peer": "127.0.0.5", "host": "mesh.localhost:8000"},
        HERE | {"origin": "http://127.0.0.1:8000", "site": "same-origin"},
    ],
)
def test_whoever_is_on_this_machine_administers_while_there_is_no_key(client: Any) -> None:
    assert House().admit(ADMIN, **client) == "local"
    assert House(is_local=False).admit(LOOK, **client) == "local"


@pytest.mark.parametrize("peer", ["192.0.2.7", "10.0.0.2", "fe80::1", ""])
def test_another_machine_does_not(peer: str) -> None:
    told = House().refusal(ADMIN, peer=peer, host="127.0.0.1")

    assert told.startswith("403 Without a key the mesh is administered")


def test_what_a_proxy_on_this_machine_relays_is_not_from_this_machine() -> None:
    told = House().refusal(ADMIN, **HERE, is_relayed=True)

    assert told.startswith("403 Without a key the mesh is administered")


@pytest.mark.parametrize(
    "host", ["evil.example:8000", "127.0.0.1.evil.example", "", "[::", "10.0.0.1"]
)
def test_a_name_that_was_made_to_lead_here_is_refused(host: str) -> None:
    told = House().refusal(ADMIN, peer="127.0.0.1", host=host)

    assert told.startswith("403 The mesh is not administered under")


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
def test_a_page_of_another_origin_may_not_even_with_the_token(page: Any, token: str) -> None:
    told = House(token=token).refusal(ADMIN, token.encode(), **HERE, **page)

    assert told.startswith("403 A web page")


def test_a_revoked_key_is_told_of_once_and_opens_nothing() -> None:
    house = House()
    keys = [house.make(name) for name in ("ci", "anna")]
    records = house.ring.made.records
    house.ring.made.records = {"anna": records["anna"]}
    house.ring.look()
    house.ring.look()

    assert house.lost == ["ci"]
    assert house.refusal(INFERENCE, keys[0]).startswith("401 Incorrect API key")
    assert house.admit(INFERENCE, keys[1]) == "anna"


def test_the_last_key_revoked_does_not_open_a_gateway_that_others_reach() -> None:
    house = House(is_local=False)
    house.make("ci")
    house.ring.made.records = {}
    house.ring.look()

    assert house.refusal(INFERENCE).startswith("401 ")


def test_a_key_of_the_configuration_is_lost_when_its_secret_changes() -> None:
    house = House(Config(keys={"ci": KeyConfig(sha256=hash_of(b"one"))}))
    house.config = Config(keys={"ci": KeyConfig(sha256=hash_of(b"two"))})
    house.ring.look()

    assert house.lost == ["ci"]
    assert house.admit(INFERENCE, b"two") == "ci"


def test_every_key_is_compared_to_its_end_in_constant_time(monkeypatch: Any) -> None:
    """Also what is not known, or begins as a known one does."""
    house = House(Config(keys={n: KeyConfig(sha256=hash_of(n.encode())) for n in ("a", "b", "c")}))
    key = house.make("ci")
    compared: list[tuple[str, str]] = []

    def compare(left: str, right: str) -> bool:
        compared.append((left, right))
        return hmac.compare_digest(left, right)

    monkeypatch.setattr(rings, "compare_digest", compare)
    monkeypatch.setattr("proto.effective.compare_digest", compare)
    wrong = key[:-1] + (b"a" if key[-1:] != b"a" else b"b")
    for shown in (wrong, b"unknown", b"a", b"c"):
        compared.clear()
        house.ring.find(shown)
        assert len(compared) == 4
        assert {right for _, right in compared} == {hash_of(shown)}
        assert all(len(left) == 64 for left, _ in compared)
    compared.clear()
    assert house.ring.find(key) is not None
    assert len(compared) == 1


def test_who_guesses_is_not_listened_to_for_a_minute_and_nobody_elses_key_suffers() -> None:
    house = House(Config(keys={"ci": KeyConfig(sha256=hash_of(b"chosen"))}))
    made = house.make("anna")
    for number in range(LIMIT):
        assert house.refusal(INFERENCE, b"guess-%d" % number).startswith("401 ")

    assert house.refusal(INFERENCE, b"chosen").startswith("429 Too many wrong API keys")
    assert house.admit(INFERENCE, made) == "anna"
    assert house.admit(INFERENCE, b"chosen", **HERE) == "ci"
    assert house.refusal(INFERENCE).startswith("401 ")
    house.now += WINDOW_S
    assert house.admit(INFERENCE, b"chosen") == "ci"


def test_who_shows_no_key_does_not_guess() -> None:
    house = House(Config(keys={"ci": KeyConfig(sha256=hash_of(b"chosen"))}))
    for _ in range(2 * LIMIT):
        house.refusal(INFERENCE)

    assert house.admit(INFERENCE, b"chosen") == "ci"
    assert house.attempts.refused == 2 * LIMIT


def test_refusals_are_told_by_address_and_a_flood_of_addresses_together() -> None:
    house = House(Config(keys={"ci": KeyConfig(sha256=hash_of(b"chosen"))}))
    for _ in range(3):
        house.refusal(ADMIN)
    house.refusal(INFERENCE)
    told = [(each.address, each.is_admin, each.count) for each in house.attempts.told()]
    assert told == [("192.0.2.7", True, 3), ("192.0.2.7", False, 1)]
    assert house.attempts.told() == []

    for number in range(100):
        house.refusal(INFERENCE, peer=f"198.51.100.{number}", host="h")
    counts = {each.address: each.count for each in house.attempts.told()}
    assert len(counts) == 17
    assert counts[""] == 84


def test_all_addresses_of_one_ipv6_network_guess_together() -> None:
    house = House(Config(keys={"ci": KeyConfig(sha256=hash_of(b"chosen"))}))
    for number in range(LIMIT):
        house.refusal(INFERENCE, b"x", peer=f"2001:db8::{number:x}", host="h")

    assert house.refusal(INFERENCE, b"chosen", peer="2001:db8::ffff", host="h").startswith("429")
    assert house.admit(INFERENCE, b"chosen", peer="2001:db8:1::1", host="h") == "ci"


def test_a_refusal_has_the_code_by_which_dialects_know_it() -> None:
    house = House()
    house.make("ci")
    with pytest.raises(MeshError) as caught:
        house.admit(INFERENCE, b"wrong")

    assert caught.value.code is Code.UNAUTHORIZED
