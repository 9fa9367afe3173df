"""Who is well."""

from proto.presence import Unreadable
from services.health.verdict import FORGET_S, RECENT_S, Ward


def alerts(ward: Ward, now: float) -> set[tuple[str, str]]:
    return {(trouble.alert, trouble.subject) for trouble in ward.troubles(now)}


def test_everybody_heard_of_late_is_well() -> None:
    ward = Ward()
    ward.hear("engine", "e", now=0.0)

    assert alerts(ward, now=2.0) == set()


def test_silence_is_trouble_until_it_is_broken() -> None:
    ward = Ward()
    ward.hear("node", "n", now=0.0)
    assert alerts(ward, now=3.0) == {("node_gone", "n")}

    ward.hear("node", "n", now=3.1)
    assert alerts(ward, now=3.2) == set()


def test_an_engine_that_stands_still_with_work_is_wedged() -> None:
    ward = Ward()
    ward.hear("engine", "e", now=0.0, stalled_s=2.1)

    assert alerts(ward, now=0.5) == {("engine_wedged", "e")}


def test_an_upstream_that_is_left_alone_is_one_trouble_whatever_failed_last() -> None:
    ward = Ward()
    ward.hear("engine", "cloud.or", now=0.0, down="it answered 500")
    assert alerts(ward, now=0.1) == {("upstream_down", "cloud.or")}

    ward.hear("engine", "cloud.or", now=0.2)
    assert alerts(ward, now=0.3) == set()


def test_a_death_is_trouble_at_once_and_a_stop_is_none() -> None:
    ward = Ward()
    for id, why in (("killed", "SIGKILL"), ("stopped", "stopped")):
        ward.hear("engine", id, now=0.0)
        ward.hear_gone("engine", id, why, now=0.1)

    assert alerts(ward, now=0.2) == {("engine_gone", "killed")}


def test_the_long_gone_are_forgotten() -> None:
    ward = Ward()
    ward.hear("gateway", "g", now=0.0)

    assert alerts(ward, now=FORGET_S + 1) == set()


def test_a_quarantined_model_is_one_trouble_until_that_is_lifted() -> None:
    ward = Ward()
    ward.hear("node", "n", now=0.0)
    ward.hear_gone("engine", "e", "exit status 65", now=0.0)
    ward.hear_given_up("n", {"e": "m is not started any more: it crashed"})
    assert alerts(ward, now=0.1) == {("model_quarantined", "e")}

    ward.hear_given_up("n", {})
    ward.hear("engine", "e", now=0.2)
    assert alerts(ward, now=0.3) == set()


def test_a_node_that_went_takes_what_it_said_along() -> None:
    ward = Ward()
    ward.hear_given_up("n", {"e": "why"})
    ward.hear_gone("node", "n", "stopped", now=0.1)

    assert alerts(ward, now=0.2) == set()


def test_a_record_that_somebody_cannot_read_is_trouble_as_long_as_somebody_says_so() -> None:
    ward = Ward()
    ward.hear_unreadable("s", Unreadable(records=("plans/n",)), now=0.0)
    ward.hear_unreadable("g", Unreadable(records=("plans/n",)), now=0.0)
    assert alerts(ward, now=0.1) == {("state_unreadable", "plans/n")}

    for who in ("s", "g"):
        ward.hear_unreadable(who, Unreadable(), now=1.0)
    assert alerts(ward, now=1.1) == set()


def test_malformed_messages_are_trouble_while_they_come() -> None:
    ward = Ward()
    for at in range(3):
        ward.hear_unreadable("g", Unreadable(messages=7 + at), now=float(at))
    assert alerts(ward, now=2.0) == {("messages_unreadable", "g")}

    ward.hear_unreadable("g", Unreadable(messages=9), now=2.0 + RECENT_S + 0.1)
    assert alerts(ward, now=2.0 + RECENT_S + 0.2) == set()
