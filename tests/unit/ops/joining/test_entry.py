"""A machine enters a mesh by an invitation, and belongs to it from then on."""

from argparse import Namespace
from pathlib import Path

import msgspec
import pytest

from bus.connection import Bus
from bus.errors import NotConnected
from bus.home import ForeignState
from bus.key import Key
from bus.membership import NodeOnly, known_membership
from ops import alone, up
from ops.command import parser
from ops.joining import entry, finding, multicast
from ops.joining.entry import CannotJoin, enter, own_key
from proto.errors import MeshError
from proto.joining import Revoke, Token
from proto.subjects import REVOKE
from tests.unit.ops.joining.house import House

PATIENT_S = 30.0
"""On a loaded machine the network's answers are late; the search ends with the first."""


@pytest.fixture
def guest(tmp_path: Path) -> Path:
    return tmp_path / "guest"


@pytest.fixture
def deaf(monkeypatch: pytest.MonkeyPatch) -> None:
    """No local network to be asked."""

    async def browse(sought: str) -> list[multicast.Nearby]:
        return []

    monkeypatch.setattr(multicast, "browse", browse)


async def test_who_entered_connects_by_a_key_of_its_own(open_bus: House, guest: Path) -> None:
    member = await enter(guest, await open_bus.invite(), None, "studio")

    assert known_membership(guest) == member
    assert member.node == "studio"
    async with Bus.connect(member.url(guest), "runner:studio") as node:
        assert node.is_connected
    assert not (guest / "membership" / "invitation.seed").exists()
    assert own_key(guest).seed not in member.url(guest)


async def test_a_second_machine_with_the_same_token_stays_outside(
    house: House, guest: Path, tmp_path: Path
) -> None:
    token = await house.invite()
    await enter(guest, token, None, "studio")

    with pytest.raises(MeshError, match="used already"):
        await enter(tmp_path / "other", token, None, "mini")
    assert known_membership(tmp_path / "other") is None


async def test_an_invitation_that_was_withdrawn_is_explained(house: House, guest: Path) -> None:
    token = await house.invite()
    await enter(guest, token, None, "studio")
    await house.bus.ask(REVOKE, Revoke(node="studio"))  # type: ignore[arg-type]

    with pytest.raises(CannotJoin, match="does not know this invitation"):
        await enter(guest, token, None, "studio")


async def test_a_removed_node_comes_back_by_a_new_invitation(house: House, guest: Path) -> None:
    await enter(guest, await house.invite(), "studio", "machine")
    await house.bus.ask(REVOKE, Revoke(node="studio"))  # type: ignore[arg-type]
    member = known_membership(guest)
    assert member
    with pytest.raises(NotConnected, match="was withdrawn"):
        async with Bus.connect(member.url(guest), "runner:studio"):
            pass

    again = await enter(guest, await house.invite(), None, "machine")

    assert again.node == "studio"
    async with Bus.connect(again.url(guest), "runner:studio") as node:
        assert node.is_connected


async def test_another_mesh_in_its_place_is_recognised(open_bus: House, guest: Path) -> None:
    token = await open_bus.invite()

    with pytest.raises(CannotJoin, match="its certificate is not the one"):
        await enter(guest, msgspec.structs.replace(token, fingerprint="ab" * 32), None, "studio")


async def test_whether_an_invitation_has_expired_is_for_the_mesh_to_say(
    house: House, guest: Path
) -> None:
    """This machine's clock may be wrong: here it is years ahead."""
    token = msgspec.structs.replace(await house.invite(), expires_s=1.0)

    assert (await enter(guest, token, None, "studio")).node == "studio"


async def test_a_mistyped_invitation_is_recognised(house: House, guest: Path) -> None:
    token = await house.invite()
    mistyped = msgspec.structs.replace(token, seed="SU" + token.seed[2:].swapcase())

    with pytest.raises(CannotJoin, match="mistyped"):
        await enter(guest, mistyped, None, "studio")


@pytest.mark.usefixtures("deaf")
async def test_a_mesh_that_is_nowhere_is_named_with_its_addresses(guest: Path) -> None:
    token = Token("odyssai-gone", ("127.0.0.1:9",), Key.fresh().seed, "", 9e9)

    with pytest.raises(CannotJoin, match=r"odyssai-gone does not answer at 127\.0\.0\.1:9"):
        await enter(guest, token, None, "studio")


async def test_a_home_belongs_to_one_mesh(house: House, guest: Path, tmp_path: Path) -> None:
    with pytest.raises(CannotJoin, match="has a mesh of its own"):
        await enter_home_of(house)
    await enter(guest, await house.invite(), None, "studio")
    other = msgspec.structs.replace(await house.invite(), mesh="odyssai-other")
    with pytest.raises(CannotJoin, match=f"belongs to mesh {house.access.name}"):
        await enter(guest, other, None, "studio")


async def enter_home_of(house: House) -> None:
    """Its own home, while nobody claims it."""
    entry._suitable(house.home, await house.invite())


@pytest.fixture
async def joined(house: House, guest: Path) -> Path:
    await enter(guest, await house.invite(), None, "studio")
    return guest


def given(*arguments: str) -> Namespace:
    return parser().parse_args(arguments)


async def test_a_joined_home_runs_its_runner_on_that_mesh(joined: Path) -> None:
    member = known_membership(joined)
    assert member
    plan = up.planned(given("up", "--only", "runner", "--home", str(joined)))
    settings = alone.settings(given("runner", "--home", str(joined)))

    assert (plan.node, plan.models, plan.nats) == ("studio", ("none",), member.url(joined))
    assert settings["ODYSSAI_NODE"] == "studio"
    assert settings["ODYSSAI_MODELS"] == "none"
    assert settings["ODYSSAI_NATS"] == member.url(joined)


@pytest.mark.parametrize(
    "arguments", [("up",), ("up", "--only", "runner", "--node", "mini"), ("gateway",)]
)
async def test_a_joined_home_is_one_node_and_nothing_else(
    joined: Path, arguments: tuple[str, ...]
) -> None:
    asked = given(*arguments, "--home", str(joined))

    with pytest.raises(NodeOnly, match="this home is node studio of mesh"):
        alone.settings(asked) if asked.module == "ops.alone" else up.planned(asked)


async def test_a_mesh_is_found_by_its_name_on_the_local_network(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multicast.interfaces, "addresses", lambda: ("127.0.0.1",))
    async with multicast.announced(house.access, "1.2.3"):
        heard = await multicast.browse(PATIENT_S, sought=house.access.name)
        (nearby,) = [each for each in heard if each.mesh == house.access.name]
        found = await finding.find(house.access.name, ["127.0.0.1:9"])

    assert nearby.version == "1.2.3"
    assert nearby.addresses == (f"127.0.0.1:{house.access.port}",)
    assert found == nearby.addresses


async def test_a_server_of_another_name_is_not_the_mesh(house: House) -> None:
    here = f"127.0.0.1:{house.access.port}"

    assert await finding.answering("odyssai-other", [here]) == ()
    assert await finding.answering(house.access.name, ["127.0.0.1:9", here]) == (here,)


async def test_a_machine_without_a_network_hears_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multicast.interfaces, "addresses", tuple)

    with pytest.raises(multicast.Unheard, match="no network"):
        await multicast.browse()


def test_a_home_that_joined_nobody_is_nobodys(guest: Path) -> None:
    assert known_membership(guest) is None


def test_a_membership_that_makes_no_sense_is_named(guest: Path) -> None:
    (guest / "membership").mkdir(parents=True)
    (guest / "membership" / "membership.json").write_text("{")

    with pytest.raises(ForeignState, match=r"membership\.json cannot be used"):
        known_membership(guest)
