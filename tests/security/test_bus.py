"""Nobody on the bus can say or hear more than their part: all of it is tried on a real server."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from nats.aio.client import Client

from bus import embedded, permissions
from bus.address import Address
from bus.buckets import KINDS
from bus.connection import Bus
from bus.errors import NoAnswer, NotConnected, TurnedAway
from bus.key import Key
from bus.permissions import PARTS
from ops import buckets
from proto import subjects
from proto.credentials import HOME, Holder, Role
from proto.generation import Cancel
from proto.ids import NodeId
from proto.prompt import Text
from proto.subjects import CANCEL, COUNT_TOKENS, PAIRS, Subject
from proto.tokenization import Counted, CountTokens
from tests.unit.bus.test_embedded import running

SUBJECTS = [value for value in vars(subjects).values() if isinstance(value, Subject)]
ROLES = [role for role in PARTS if role != "guest"]
OWN = {"runner": "hall", "cloud": HOME}
"""Names of our holders, where they are not HOME; the other gateway is ``other``."""


def own_tokens(role: Role) -> dict[str, str]:
    """What stands for a holder of that role in subjects, by the architecture's own words."""
    name = OWN.get(role, HOME)
    engine = {"runner": f"{name}.e", "cloud": "cloud.up-1"}.get(role)
    mine = {"holder": f"{role}.{name}", "service": f"{role}.1"}
    if role == "gateway":
        mine["gateway"] = f"{name}.1"
    if role == "runner":
        mine["node"] = name
    return mine | ({"engine": engine} if engine else {})


def address_of(subject: Subject[object], told: dict[str, str]) -> str:
    places = subjects._PLACE.findall(subject.form)
    stranger = {place: "x.y" if place in PAIRS else "x" for place in places}
    return subject.at(*({**stranger, **told}[place] for place in places))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedServer]:
    """With a credential of each role, another gateway, another node, and every bucket."""
    home = tmp_path_factory.mktemp("bus") / "home"
    prepared = embedded.prepare(home, node=NodeId("hall"))
    embedded.admit(home, prepared.access, Holder("gateway", "other"), Holder("runner", "mini"))

    async def make() -> None:
        assert await embedded.answers(prepared.access)
        async with Bus.connect(prepared.access.url("doorkeeper"), "test:door") as bus:
            await buckets.make(bus)

    with running(prepared):
        asyncio.run(make())
        yield prepared
    os.close(prepared.claim)


class Trying:
    """A connection, and what the server refused it."""

    def __init__(self) -> None:
        self.client = Client()
        self._refused: list[str] = []

    async def note(self, error: Exception) -> None:
        self._refused.append(str(error).lower())

    async def publishes(self, address: str) -> bool:
        await self.client.publish(address, b"")
        return await self._passed(f'publish to "{address.lower()}"')

    async def hears(self, address: str) -> bool:
        subscription = await self.client.subscribe(address)
        passed = await self._passed(f'subscription to "{address.lower()}"')
        await subscription.unsubscribe()
        return passed

    async def _passed(self, what: str) -> bool:
        await self.client.flush()
        await self.client.flush()
        return not any(what in why for why in self._refused)


@asynccontextmanager
async def trying(server: embedded.EmbeddedServer, role: Role, name: str) -> AsyncIterator[Trying]:
    tried = Trying()
    address = Address.parse(server.access.url(role, name))
    await tried.client.connect(**address.dialled("test:try"), error_cb=tried.note)
    try:
        yield tried
    finally:
        await tried.client.close()


@pytest.mark.parametrize("role", ROLES)
async def test_each_role_says_and_hears_its_part_and_nothing_else(
    server: embedded.EmbeddedServer, role: Role
) -> None:
    part, mine = PARTS[role], own_tokens(role)
    wrong: list[str] = []
    async with trying(server, role, OWN.get(role, HOME)) as tried:
        for subject in SUBJECTS:
            own, others = address_of(subject, mine), address_of(subject, {})
            for address, says, hears in (
                (own, subject in (*part.says, *part.says_own),
                 subject in (*part.hears, *part.hears_own)),
                (others, subject in part.says or (own == others and subject in part.says_own),
                 subject in part.hears or (own == others and subject in part.hears_own)),
            ):  # fmt: skip
                is_telemetry = role == "ops" and address.startswith("telemetry.")
                if await tried.publishes(address) != says:
                    wrong.append(f"publish {address}: {'refused' if says else 'let through'}")
                if await tried.hears(address) != (hears or is_telemetry):
                    wrong.append(f"subscribe {address}: {'refused' if hears else 'let through'}")

    assert wrong == []


@pytest.mark.parametrize("subject", SUBJECTS, ids=lambda subject: subject.form)
def test_every_subject_is_in_somebodys_part(subject: Subject[object]) -> None:
    said = [s for part in PARTS.values() for s in (*part.says, *part.says_own)]
    heard = [s for part in PARTS.values() for s in (*part.hears, *part.hears_own)]

    assert subject in said
    assert subject in heard or subject.form.startswith("telemetry.")


EVERYBODYS_ATTACKS = {
    "publish": (
        "$SYS.REQ.SERVER.PING", "$SYS.REQ.SERVER.X.RELOAD", "$JS.API.STREAM.NAMES",
        "$JS.API.STREAM.DELETE.KV_plans", "$JS.API.STREAM.MSG.DELETE.KV_plans",
        "$JS.API.STREAM.CREATE.spy", "$JS.API.STREAM.SNAPSHOT.KV_plans", "$JS.API.INFO",
        "$JS.API.CONSUMER.DURABLE.CREATE.KV_plans.d", "$KV.unknown.key",
        "mesh.v2.anything",
    ),
    "hears": (
        ">", "mesh.>", "mesh.v1.>", "mesh.v1.stream.>", "mesh.v1.engine.>", "mesh.v1.gateway.>",
        "mesh.v1.node.>", "_INBOX.>", "_INBOX.*.*.>", "_INBOX.gateway.other.>", "$KV.>",
        "$KV.responses.>", "$JS.>", "$SYS.>", "mesh.v1.stream.other.>",
        "mesh.v1.stream.other.1.*.*.*", "mesh.v1.gateway.other.*.fetch_blob",
    ),
}  # fmt: skip
ATTACKS: dict[Role, dict[str, tuple[str, ...]]] = {
    "runner": {
        "publish": (
            "mesh.v1.beat.node.mini", "mesh.v1.beat.engine.mini.e", "mesh.v1.beat.engine.cloud.x",
            "mesh.v1.stream.home.1.mini.e.r", "mesh.v1.gone.node.mini", "mesh.v1.gone.engine.m.e",
            "mesh.v1.gone.gateway.home.1", "telemetry.v1.node.mini", "telemetry.v1.event.mini.e",
            "$KV.plans.mini", "$KV.engines.mini.e", "$KV.stores.mini", "$KV.config.admin",
            "$JS.API.STREAM.PURGE.KV_plans", "$JS.API.STREAM.UPDATE.KV_plans",
            "$JS.API.STREAM.CREATE.KV_plans", "$JS.API.STREAM.INFO.KV_responses",
            "$JS.API.STREAM.MSG.GET.KV_keys", "mesh.v1.engine.hall.e.generate",
            "_INBOX.cloud.home.x", "mesh.v1.bus.join", "mesh.v1.bus.invite",
        ),
        "hears": (
            "mesh.v1.node.mini.entrust", "mesh.v1.engine.mini.e.generate", "mesh.v1.beat.engine.>",
            "_INBOX.runner.mini.>", "mesh.v1.schedule", "telemetry.>",
        ),
    },
    "gateway": {
        "publish": (
            "mesh.v1.beat.gateway.other.1", "mesh.v1.gone.gateway.other.1",
            "telemetry.v1.request.other.1", "telemetry.v1.audit.gateway.other",
            "mesh.v1.stream.other.1.hall.e.r", "mesh.v1.bus.revoke", "mesh.v1.bus.invite_role",
            "mesh.v1.bus.rotate", "mesh.v1.node.hall.entrust", "$KV.plans.hall", "$KV.config.file",
            "$JS.API.STREAM.UPDATE.KV_responses", "$JS.API.STREAM.PURGE.KV_responses",
            "$JS.API.STREAM.UPDATE.audit", "$JS.API.STREAM.PURGE.audit",
        ),
        "hears": ("telemetry.>", "mesh.v1.bus.join", "mesh.v1.engine.hall.e.generate"),
    },
    "scheduler": {
        "publish": ("mesh.v1.engine.hall.e.generate", "$KV.keys.k", "mesh.v1.bus.dismiss"),
        "hears": ("mesh.v1.engine.hall.e.generate", "telemetry.>"),
    },
    "ops": {
        "publish": ("telemetry.v1.alert.forged", "mesh.v1.schedule", "$KV.plans.hall"),
        "hears": ("mesh.v1.beat.node.hall",),
    },
    "cloud": {"publish": ("mesh.v1.beat.engine.hall.e", "$JS.API.STREAM.INFO.KV_plans")},
    "health": {"publish": ("mesh.v1.gone.engine.hall.e", "$JS.API.STREAM.INFO.KV_plans")},
}  # fmt: skip


@pytest.mark.parametrize("role", ROLES)
async def test_attacks_are_refused(server: embedded.EmbeddedServer, role: Role) -> None:
    own = ATTACKS.get(role, {})
    through: list[str] = []
    async with trying(server, role, OWN.get(role, HOME)) as tried:
        for said in (*EVERYBODYS_ATTACKS["publish"], *own.get("publish", ())):
            through += [f"publish {said}"] * await tried.publishes(said)
        for heard in (*EVERYBODYS_ATTACKS["hears"], *own.get("hears", ())):
            through += [f"subscribe {heard}"] * await tried.hears(heard)

    assert through == []


async def test_records_are_kept_by_whom_they_are_of(server: embedded.EmbeddedServer) -> None:
    async with trying(server, "runner", "hall") as hall, trying(server, "gateway", HOME) as gateway:
        stored = await hall.client.request("$KV.plans.hall", b"{}", timeout=5)
        read = await gateway.client.request("$JS.API.STREAM.INFO.KV_engines", b"", timeout=5)

        assert json.loads(stored.data)["stream"] == "KV_plans"
        assert json.loads(read.data)["config"]["name"] == "KV_engines"


async def test_an_answer_goes_to_no_other_place_than_an_inbox(
    server: embedded.EmbeddedServer,
) -> None:
    """Whoever asks could otherwise have the one who answers say anything."""
    url = server.access.url("runner", "hall")
    async with (
        trying(server, "gateway", HOME) as gateway,
        trying(server, "gateway", "other") as victim,
        Bus.connect(url, "engine:hall.e") as engine,
        Bus.connect(server.access.url("scheduler"), "test:watch") as watcher,
    ):
        asked = asyncio.Event()
        heard: asyncio.Queue[str] = asyncio.Queue()

        async def count(_: CountTokens) -> Counted:
            asked.set()
            return Counted(tokens=1)

        await engine.answer(COUNT_TOKENS, count, "hall.e")
        await watcher.listen_raw("mesh.v1.beat.node.*", lambda at, _: heard.put_nowait(at))
        await engine.settled()
        await watcher.settled()
        question = COUNT_TOKENS.encode(CountTokens(model="m", prompt=Text(text="x")))
        address = COUNT_TOKENS.at("hall.e")
        await gateway.client.publish(address, question, reply="mesh.v1.beat.node.hall")
        await asyncio.wait_for(asked.wait(), 5)
        await victim.client.request(address, question, timeout=5)
        await watcher.settled()

        assert heard.empty()


async def test_what_jetstream_repeats_is_not_taken_for_its_speakers_word(
    server: embedded.EmbeddedServer,
) -> None:
    """A consumer delivers records wherever it is told, past all permissions."""
    async with (
        trying(server, "runner", "mini") as evil,
        Bus.connect(server.access.url("runner", "hall"), "engine:hall.e") as engine,
        Bus.connect(server.access.url("gateway"), "test:gateway") as gateway,
    ):
        heard: asyncio.Queue[Cancel] = asyncio.Queue()
        await engine.listen(CANCEL, heard.put_nowait, "hall.e")
        await engine.settled()
        forged = CANCEL.encode(Cancel(request="forged"))  # type: ignore[arg-type]
        await evil.client.request("$KV.stores.mini", forged, timeout=5)
        consumer = {
            "deliver_subject": CANCEL.at("hall.e"), "filter_subject": "$KV.stores.mini",
            "ack_policy": "none", "deliver_policy": "all",
        }  # fmt: skip
        asked = json.dumps({"stream_name": "KV_stores", "config": consumer}).encode()
        made = await evil.client.request("$JS.API.CONSUMER.CREATE.KV_stores", asked, timeout=5)
        assert "error" not in json.loads(made.data)
        async with asyncio.timeout(5):
            while not engine.unread.messages:
                await asyncio.sleep(0.01)
        honest = Cancel(request="honest")  # type: ignore[arg-type]
        await gateway.publish(CANCEL, honest, "hall.e")

        assert await asyncio.wait_for(heard.get(), 5) == honest


@pytest.mark.parametrize(
    "url", ["nats://{}", "nats://mesh:secret@{}", "nats://sys:secret@{}", "nats://token@{}"]
)
async def test_nobody_gets_in_without_a_key(server: embedded.EmbeddedServer, url: str) -> None:
    with pytest.raises((TurnedAway, NotConnected)):
        async with Bus.connect(url.format(server.access.address), "test:stranger", within_s=1):
            pass


async def test_a_key_that_the_server_does_not_know_opens_nothing(
    server: embedded.EmbeddedServer, tmp_path: Path
) -> None:
    seed = tmp_path / "seed"
    seed.write_text(Key.fresh().seed)
    address = Address((f"nats://{server.access.address}",), seed, None, Holder("gateway", HOME))

    with pytest.raises(TurnedAway):
        async with Bus.connect(str(address), "test:stranger", within_s=2):
            pass


async def test_a_key_gives_no_other_name_than_its_own(server: embedded.EmbeddedServer) -> None:
    """Who says that it is somebody else is not heard as them, and hears nothing of theirs."""
    own = Address.parse(server.access.url("gateway", "other"))
    impostor = str(own).replace("as=gateway.other", "as=gateway.home")
    async with Bus.connect(impostor, "test:impostor") as bus:
        question = CountTokens(model="m", prompt=Text(text="x"))
        with pytest.raises(NoAnswer):
            await bus.ask(COUNT_TOKENS, question, "hall.none", timeout_s=0.2)


@contextmanager
def greeted_in_plain(port: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as plain:
        assert b'"tls_required":true' in plain.recv(1 << 16)
        yield plain


async def test_a_server_beyond_loopback_hears_nobody_in_plain(tmp_path: Path) -> None:
    prepared = embedded.prepare(tmp_path / "home", "0.0.0.0")
    try:
        with running(prepared):
            assert await embedded.answers(prepared.access)
            with greeted_in_plain(prepared.access.port) as plain:
                plain.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
                said = b""
                while more := plain.recv(1 << 16):
                    said += more
                assert b"PONG" not in said
            async with Bus.connect(prepared.access.url("gateway"), "test:gateway") as bus:
                assert bus.is_connected
            foreign = embedded.prepare(tmp_path / "other", "0.0.0.0")
            os.close(foreign.claim)
            url = prepared.access.url("gateway").replace(prepared.access.ca, foreign.access.ca)
            with pytest.raises(NotConnected, match="certificate"):
                async with Bus.connect(url, "test:gateway", within_s=1):
                    pass
    finally:
        os.close(prepared.claim)


def test_every_bucket_is_made() -> None:
    assert set(permissions.BUCKETS) == KINDS.keys()


def test_nobodys_rights_hold_a_wildcard_for_everything() -> None:
    for role in PARTS:
        allowed = permissions.of(Holder(role, "x"))
        every = (*allowed["publish"]["allow"], *allowed["subscribe"]["allow"])
        assert not {">", "*", "mesh.>", "$JS.>", "$KV.>", "_INBOX.>", "$SYS.>"} & set(every)


async def test_the_server_listens_on_loopback_unless_told_otherwise(
    server: embedded.EmbeddedServer,
) -> None:
    settings = (server.access.folder / "nats.conf").read_text()

    assert 'host: "127.0.0.1"' in settings
    assert "password" not in settings
    assert "no_auth_user" not in settings
