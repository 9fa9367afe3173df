"""What the tables tell, and the sentences below them."""

from msgspec.structs import replace

from ops.console import jobs, models, nodes
from ops.console.tables import Table, plain
from proto.errors import Code, MeshError
from proto.ids import EngineId, JobId, ModelId, NodeId
from proto.jobs import Job, Load, NodeProgress
from proto.overview import ModelView, Overview, StoredView
from proto.plan import Quarantine
from proto.presence import TaskStatus
from tests.scripted_leader import MODELS, NODES, engine_view

SEEN = Overview(nodes=NODES, models=MODELS, jobs=(), leader="s1", epoch=1)


def notes(**changes: object) -> list[str]:
    return nodes.table(replace(SEEN, nodes=(replace(NODES[0], **changes),))).notes


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    table = Table(heads=("A", "B"), rows=[("x", "1"), ("long", "")], nothing="none")

    assert plain(table) == "A     B\nx     1\nlong"


def test_an_empty_table_says_what_to_do() -> None:
    empty = replace(SEEN, nodes=(), models=())

    assert plain(nodes.table(empty)) == "No node is there; `odyssai runner` starts one."
    assert plain(models.table(())) == "No model is there; `odyssai pull ORG/NAME` fetches one."


def test_a_mesh_in_order_has_no_notes() -> None:
    assert nodes.table(SEEN).notes == []
    assert models.table(MODELS).notes == []


def test_it_is_told_when_nobody_leads() -> None:
    (note,) = nodes.table(replace(SEEN, leader="")).notes

    assert note == "No scheduler leads at this moment: nothing is loaded or moved."


def test_a_quarantine_comes_with_its_reason_and_the_way_out() -> None:
    held = Quarantine(
        model=ModelId("org/x"), source="org/x", reason="it ended with SIGSEGV.", crashes=3, at_s=0.0
    )

    assert notes(quarantined=(held,)) == [
        "org/x is quarantined on studio-1: it ended with SIGSEGV. "
        "`odyssai load org/x --lift-quarantine` tries it again."
    ]


def test_an_engine_that_does_not_serve_says_why() -> None:
    engine = engine_view(phase="crashed", detail="again in 4 s")
    node = replace(NODES[0], engines=(engine,))

    assert "org/qwen-4b (crashed)" in nodes.table(replace(SEEN, nodes=(node,))).rows[0]
    assert notes(engines=(engine,)) == ["org/qwen-4b on studio-1: again in 4 s"]


def test_work_on_files_is_told_with_how_far_it_is() -> None:
    task = TaskStatus(
        job=JobId("j"), phase="running", step="verifying", done_bytes=1, total_bytes=4
    )
    node = replace(NODES[0], tasks=(task,))

    assert "verifying 25 %" in nodes.table(replace(SEEN, nodes=(node,))).rows[0]


def test_different_files_under_one_name_are_told() -> None:
    stored = tuple(
        StoredView(node=NodeId(node), revision=revision, fingerprint="f" * 9, disk_bytes=1)
        for node, revision in (("a", "1234567890"), ("b", ""))
    )
    model = ModelView(
        model=ModelId("org/x"), state="stored", stored=stored, is_same_everywhere=False
    )

    assert models.table((model,)).notes == [
        "Nodes hold different files of org/x: a (12345678), b (ffffffff). "
        "`odyssai sync org/x --from NODE` makes them the same."
    ]


def test_replicas_and_the_smallest_context_are_told() -> None:
    there = engine_view()
    small = engine_view(engine=EngineId("e2"), node=NodeId("studio-2"), is_pinned=False)
    assert small.grant
    small = replace(small, grant=replace(small.grant, context=4096))

    row = models.table((replace(MODELS[0], engines=(there, small)),)).rows[0]

    assert row[4:7] == ("4096 of 8192", "2", "studio-1, studio-2")


def test_a_job_tells_how_far_it_is_then_what_came_of_it() -> None:
    going = Job(
        id=JobId("j"), order=Load(model=ModelId("m")), phase="loading", by="demand",
        nodes=(NodeProgress(node=NodeId("a"), phase="loading"),), created_s=0.0, updated_s=0.0,
    )  # fmt: skip
    why = MeshError(Code.NO_MEMORY, "Too big.").refusal()
    done = replace(going, state="done", detail="loaded on a")
    failed = replace(going, state="failed", error=why)

    rows = jobs.table((going, done, failed), now_s=120.0).rows

    assert rows[0] == ("j", "load m", "loading", "demand", "2 min", "a loading")
    assert [row[2::3] for row in rows[1:]] == [("done", "loaded on a"), ("failed", "Too big.")]
