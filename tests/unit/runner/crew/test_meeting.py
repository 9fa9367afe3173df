"""By which way ranks meet."""

from proto.group import Group, Member
from proto.ids import EngineId
from services.runner.crew.engine_log import OTHERS_LEFT, UNMET
from services.runner.crew.meeting import Meeting
from tests.unit.runner.crew.test_keeper import placement

RANKS = tuple(Member(engine=EngineId(f"n{rank}.tiny")) for rank in range(2))
OVER_RDMA = placement(group=Group(backend="jaccl", split="tensor", members=RANKS))


def test_ranks_that_rdma_cannot_bring_together_twice_meet_over_ring_and_say_so() -> None:
    meeting = Meeting()
    meeting.has_ended(UNMET, was_ready=False)
    assert meeting.way(OVER_RDMA) == (OVER_RDMA, "")

    meeting.has_ended(OTHERS_LEFT, was_ready=False)
    way, said = meeting.way(OVER_RDMA)
    assert way.group
    assert way.group.backend == "ring"
    assert way.group.members == RANKS
    assert "jaccl could not bring the ranks together 2 times" in said


def test_ranks_that_have_met_since_or_failed_for_their_own_fault_try_rdma_again() -> None:
    meeting = Meeting()
    meeting.has_ended(UNMET, was_ready=False)
    meeting.has_met()
    meeting.has_ended(UNMET, was_ready=False)
    meeting.has_ended(OTHERS_LEFT, was_ready=True)
    meeting.has_ended("SIGKILL", was_ready=False)
    assert meeting.way(OVER_RDMA) == (OVER_RDMA, "")


def test_an_engine_by_itself_meets_nobody() -> None:
    meeting = Meeting()
    for _ in range(3):
        meeting.has_ended(OTHERS_LEFT, was_ready=False)
    assert meeting.way(placement()) == (placement(), "")
