"""Who is let in, and why not."""

import pytest

from bus.key import BadSeed, Key
from bus.members import (
    OVERLAP_S,
    Invitation,
    Member,
    Members,
    admitted,
    current,
    invited,
    joined,
    revoked,
    rotated,
)
from proto.credentials import Holder
from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.joining import BadToken, Join, Token

NOW_S = 1000.0
TICKET = Key.fresh().public
STUDIO = Holder("runner", "studio")
ALICE, BOB = Key.fresh().public, Key.fresh().public


def with_invitation(node: str | None = None) -> Members:
    invitation = Invitation(
        key=TICKET, expires_s=NOW_S + 60, node=None if node is None else NodeId(node)
    )
    return invited(Members(), invitation)


def asking(node: str = "studio", key: str = ALICE) -> Join:
    return Join(invitation=TICKET, node=NodeId(node), key=key)


def let_in(members: Members, join: Join) -> Members:
    return joined(members, join, NOW_S)[0]


def refusal_of(members: Members, join: Join, now_s: float = NOW_S) -> MeshError:
    with pytest.raises(MeshError) as refused:
        joined(members, join, now_s)
    return refused.value


def test_a_node_with_an_invitation_is_let_in() -> None:
    members = let_in(with_invitation(), asking())

    assert members.holders == {"runner.studio": Member(key=ALICE, since_s=NOW_S)}


def test_an_invitation_serves_once_and_says_so() -> None:
    members = let_in(with_invitation(), asking())

    refused = refusal_of(members, asking("other", BOB))
    assert refused.code is Code.FORBIDDEN
    assert "used already" in refused.message


def test_who_did_not_hear_the_answer_may_ask_again() -> None:
    members = let_in(with_invitation(), asking())

    assert let_in(members, asking()) == members


def test_an_expired_invitation_lets_nobody_in() -> None:
    assert "expired" in refusal_of(with_invitation(), asking(), NOW_S + 60).message


def test_without_an_invitation_nobody_is_let_in() -> None:
    assert refusal_of(Members(), asking()).code is Code.FORBIDDEN


def test_an_invitation_for_one_name_is_good_for_no_other() -> None:
    assert "is for studio only" in refusal_of(with_invitation("studio"), asking("mini")).message
    assert let_in(with_invitation("studio"), asking()).holders


@pytest.mark.parametrize("node", ["studio", "cloud"])
def test_a_name_belongs_to_one_key_and_that_of_upstreams_to_none(node: str) -> None:
    members = admitted(with_invitation(), STUDIO, BOB, NOW_S)

    refused = refusal_of(members, asking(node))
    assert refused.code is Code.CONFLICT
    assert f"a node {node} already" in refused.message


def test_a_node_that_was_removed_cannot_come_back_by_its_old_invitation() -> None:
    members = let_in(with_invitation(), asking())
    without = revoked(members, STUDIO)

    assert without == Members()
    assert refusal_of(without, asking()).code is Code.FORBIDDEN


def test_removing_who_never_came_changes_nothing() -> None:
    assert revoked(with_invitation(), STUDIO) == with_invitation()


def test_expired_invitations_vanish() -> None:
    members = with_invitation()

    assert members.next_expiry_s == NOW_S + 60
    assert current(members, NOW_S + 59) is members
    assert current(members, NOW_S + 60) == Members()


def test_an_invitation_says_what_its_holder_becomes() -> None:
    invitation = Invitation(key=TICKET, expires_s=NOW_S + 60, role="gateway")
    members, holder = joined(invited(Members(), invitation), asking("west"), NOW_S)

    assert str(holder) == "gateway.west"
    assert list(members.holders) == ["gateway.west"]


def test_a_new_key_and_the_one_before_are_both_good_for_a_moment() -> None:
    members = rotated(admitted(Members(), STUDIO, ALICE, 0.0), STUDIO, BOB, NOW_S)

    assert members.holders["runner.studio"].keys == (BOB, ALICE)
    assert members.next_expiry_s == NOW_S + OVERLAP_S
    assert current(members, NOW_S) is members
    assert current(members, NOW_S + OVERLAP_S).holders["runner.studio"].keys == (BOB,)


def test_who_is_no_member_gets_no_new_key() -> None:
    with pytest.raises(MeshError, match=r"no credential runner\.studio"):
        rotated(Members(), STUDIO, BOB, NOW_S)


def test_a_token_is_one_word_and_is_read_back() -> None:
    token = Token(
        "odyssai-1", ("10.0.0.1:4222", "[fd00::2]:4222"), Key.fresh().seed, "ab" * 32, 1.5
    )

    assert len(token.text().split()) == 1
    assert Token.read(f" {token.text()}\n") == token


@pytest.mark.parametrize("text", ["", "hello", "odyssai-", "odyssai-%%%", "odyssai-ümlaut"])
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(BadToken):
        Token.read(text)


def test_a_token_that_was_copied_in_part_is_refused() -> None:
    text = Token("m", ("10.0.0.1:4222",), Key.fresh().seed, "", 1.5).text()

    for end in range(8, len(text)):
        with pytest.raises(BadToken):
            Token.read(text[:end])


def test_a_mistyped_seed_is_refused() -> None:
    seed = Key.fresh().seed
    mistyped = seed[:20] + ("A" if seed[20] != "A" else "B") + seed[21:]

    assert Key.of(seed).seed == seed
    with pytest.raises(BadSeed):
        Key.of(mistyped)
