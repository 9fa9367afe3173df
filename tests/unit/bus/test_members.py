"""Who is let in, and why not."""

import pytest

from bus.key import BadSeed, Key
from bus.members import Invitation, Members, admitted, current, invited, revoked
from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.joining import BadToken, Join, Token

NOW_S = 1000.0
TICKET = Key.fresh().public
ALICE, BOB = Key.fresh().public, Key.fresh().public


def with_invitation(node: str | None = None) -> Members:
    invitation = Invitation(
        key=TICKET, expires_s=NOW_S + 60, node=None if node is None else NodeId(node)
    )
    return invited(Members(), invitation)


def asking(node: str = "studio", key: str = ALICE) -> Join:
    return Join(invitation=TICKET, node=NodeId(node), key=key)


def refusal_of(
    members: Members, join: Join, now_s: float = NOW_S, taken: str = "hall"
) -> MeshError:
    with pytest.raises(MeshError) as refused:
        admitted(members, join, now_s, frozenset({NodeId("hall")}))
    return refused.value


def test_a_node_with_an_invitation_is_let_in() -> None:
    members = admitted(with_invitation(), asking(), NOW_S, frozenset())

    assert members.nodes == {"studio": ALICE}


def test_an_invitation_serves_once_and_says_so() -> None:
    members = admitted(with_invitation(), asking(), NOW_S, frozenset())

    refused = refusal_of(members, asking("other", BOB))
    assert refused.code is Code.FORBIDDEN
    assert "used already" in refused.message


def test_who_did_not_hear_the_answer_may_ask_again() -> None:
    members = admitted(with_invitation(), asking(), NOW_S, frozenset())

    assert admitted(members, asking(), NOW_S, frozenset()) == members


def test_an_expired_invitation_lets_nobody_in() -> None:
    assert "expired" in refusal_of(with_invitation(), asking(), NOW_S + 60).message


def test_without_an_invitation_nobody_is_let_in() -> None:
    assert refusal_of(Members(), asking()).code is Code.FORBIDDEN


def test_an_invitation_for_one_name_is_good_for_no_other() -> None:
    assert "for node studio" in refusal_of(with_invitation("studio"), asking("mini")).message
    assert admitted(with_invitation("studio"), asking(), NOW_S, frozenset()).nodes


@pytest.mark.parametrize("node", ["studio", "hall"])
def test_a_name_belongs_to_one_key(node: str) -> None:
    members = Members(nodes={NodeId("studio"): BOB}, invitations=with_invitation().invitations)

    refused = refusal_of(members, asking(node))
    assert refused.code is Code.CONFLICT
    assert f"a node {node} already" in refused.message


def test_a_node_that_was_removed_cannot_come_back_by_its_old_invitation() -> None:
    members = admitted(with_invitation(), asking(), NOW_S, frozenset())
    without = revoked(members, NodeId("studio"))

    assert without == Members()
    assert refusal_of(without, asking()).code is Code.FORBIDDEN


def test_removing_who_never_came_changes_nothing() -> None:
    assert revoked(with_invitation(), NodeId("studio")) == with_invitation()


def test_expired_invitations_vanish() -> None:
    members = with_invitation()

    assert members.next_expiry_s == NOW_S + 60
    assert current(members, NOW_S + 59) is members
    assert current(members, NOW_S + 60) == Members()


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
