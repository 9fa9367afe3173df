"""What an operator sees of the mesh, and of what they order."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from bus import jobs
from bus.membership import Membership, keep
from ops import command, reach
from proto.audit import NOBODY
from proto.errors import Code, MeshError
from proto.ids import NodeId
from proto.jobs import Load, NodeProgress, Pull
from tests.mesh.house import Command
from tests.scripted_leader import ScriptedLeader
from tests.scripted_leader import leader as leading
from tests.unit.ops.console.conftest import Odyssai

M = "org/qwen-4b"


async def test_nodes_are_listed_with_what_they_may_hold(
    odyssai: Odyssai, leader: ScriptedLeader
) -> None:
    said = await odyssai("nodes")

    head, first, second = said.out.splitlines()
    assert head.split()[:3] == ["NODE", "STATE", "HOST"]
    assert "studio-1.local  47.2 GB of 51.5 GB  900.0 GB   org/qwen-4b" in first
    assert second.split() == ["studio-2", "draining", "studio-2.local"]


async def test_models_are_listed_with_where_they_are(
    odyssai: Odyssai, leader: ScriptedLeader
) -> None:
    said = await odyssai("models")

    _, first, second = said.out.splitlines()
    assert first.split() == [
        M, "loaded", "2.1", "GB", "4bit", "8192", "1", "studio-1", "studio-1", "yes"
    ]  # fmt: skip
    assert second.split() == ["org/other", "stored"]


@pytest.mark.parametrize(("command", "name"), [("nodes", "node"), ("models", "model")])
async def test_programs_get_all_of_it(
    odyssai: Odyssai, leader: ScriptedLeader, command: str, name: str
) -> None:
    listed: list[Any] = json.loads((await odyssai(command, "--json")).out)

    assert len(listed) == 2
    assert set(listed[1]) >= {name, "state", "engines"}


async def test_a_load_is_followed_to_its_end(odyssai: Odyssai, leader: ScriptedLeader) -> None:
    loading = asyncio.create_task(odyssai("load", M))
    job = await leader.followed_job()
    await leader.fetch(job.id, 100)
    await leader.fetch(job.id, 101)
    await leader.fetch(job.id, 400)
    await leader.tell(job.id, state="done", detail="org/qwen-4b serves on studio-1.")

    said = await loading
    assert leader.submitted[0].order == Load(model=M)
    assert said.status == 0
    assert said.out.splitlines() == [
        "studio-1 fetching · 10 % of 0 MB · model.safetensors",
        "studio-1 fetching · 40 % of 0 MB · model.safetensors",
        "org/qwen-4b serves on studio-1.",
    ]


async def test_a_node_that_does_two_things_is_told_of_each(
    odyssai: Odyssai, leader: ScriptedLeader
) -> None:
    def doing(*phases: str) -> tuple[NodeProgress, ...]:
        return tuple(
            NodeProgress(node=NodeId("a"), phase=phase, detail=f"engine-{place}")
            for place, phase in enumerate(phases)
        )

    restarting = asyncio.create_task(odyssai("restart", "a", "--engines"))
    job = await leader.followed_job()
    await leader.tell(job.id, nodes=doing("restarting", "waiting"))
    await leader.tell(job.id, nodes=doing("ready", "waiting"))
    await leader.tell(job.id, nodes=doing("ready", "restarting"), state="done", detail="done")

    assert (await restarting).out.splitlines() == [
        "a restarting · engine-0",
        "a waiting · engine-1",
        "a ready · engine-0",
        "a restarting · engine-1",
        "done",
    ]


async def test_a_failure_is_the_jobs_own_sentence(odyssai: Odyssai, leader: ScriptedLeader) -> None:
    why = MeshError(Code.NO_MEMORY, "It needs 9 GB; 3 GB are free on a.").refusal()
    leader.begins_as = {"state": "failed", "error": why}

    said = await odyssai("load", M)

    assert (said.status, said.err) == (1, "odyssai: It needs 9 GB; 3 GB are free on a.\n")


async def test_a_refusal_is_one_sentence_too(odyssai: Odyssai, leader: ScriptedLeader) -> None:
    leader.refusal = MeshError(Code.CONFLICT, "It is loaded on a; unload it first.")

    said = await odyssai("rm", M)

    assert said == (1, "", "odyssai: It is loaded on a; unload it first.\n")


async def test_nobody_waits_for_what_is_detached(odyssai: Odyssai, leader: ScriptedLeader) -> None:
    said = await odyssai("pull", "org/new", "--detach")

    job = await leader.the_job()
    assert said == (0, f"{job.id}  pull org/new  accepted\n", "")


async def test_the_hubs_token_comes_out_of_the_environment(
    odyssai: Odyssai, leader: ScriptedLeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")

    said = await odyssai("pull", "org/new", "--detach", "--json")

    assert leader.submitted[0].hub_token == "hf_secret"
    assert "hf_secret" not in said.out


async def test_every_change_is_a_record_for_programs(
    odyssai: Odyssai, leader: ScriptedLeader
) -> None:
    pulling = asyncio.create_task(odyssai("pull", "org/new", "--json"))
    job = await leader.followed_job()
    await leader.fetch(job.id, 400)
    await leader.tell(job.id, state="done")

    told = [json.loads(line) for line in (await pulling).out.splitlines()]
    assert [record["state"] for record in told][-1] == "done"
    assert {record["id"] for record in told} == {job.id}


async def test_jobs_are_listed_shown_and_steered_by_the_beginning_of_their_id(
    odyssai: Odyssai, leader: ScriptedLeader
) -> None:
    id = (await jobs.submit(leader.bus, Pull(model=M), NOBODY)).id
    await leader.fetch(id, 400)

    listed = (await odyssai("jobs")).out
    one = (await odyssai("jobs", id[:6])).out
    paused = await odyssai("pause", id[:6])
    cancelled = await odyssai("cancel", id)

    assert listed.splitlines()[1].split()[:5] == [id, "pull", M, "fetching", "operator"]
    assert "  studio-1 fetching · 40 % of 0 MB · model.safetensors" in one.splitlines()
    assert [steered.wish for steered in leader.steered] == ["pause", "cancel"]
    assert paused.status == 0
    assert cancelled.out == f"{id}  pull {M}  cancelled\n"


async def test_a_job_can_be_followed_from_elsewhere(
    odyssai: Odyssai, leader: ScriptedLeader
) -> None:
    leader.begins_as = {"state": "cancelled"}
    id = (await jobs.submit(leader.bus, Pull(model=M), NOBODY)).id

    said = await odyssai("jobs", id, "--follow")

    assert said == (1, "", f"odyssai: pull {M}: cancelled\n")


async def test_an_unknown_job_and_an_ambiguous_one_are_told(
    odyssai: Odyssai, leader: ScriptedLeader
) -> None:
    for _ in range(2):
        await jobs.submit(leader.bus, Pull(model=M), NOBODY)

    unknown = await odyssai("cancel", "0000")
    ambiguous = await odyssai("cancel", "")

    assert "there is no job 0000" in unknown.err
    assert all(id in ambiguous.err for id in leader.jobs)
    assert leader.steered == []


async def test_nobody_leading_is_told(odyssai: Odyssai, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "PATIENCE_S", 0.3)

    said = await odyssai("load", M)

    assert said.status == 1
    assert said.err.startswith("odyssai: No scheduler leads the mesh at this moment")


async def test_who_goes_away_is_told_that_the_job_goes_on(
    nats_url: str, leader: ScriptedLeader
) -> None:
    loading = Command("load", M, "--nats", nats_url)
    job = await leader.followed_job()
    await asyncio.to_thread(loading.end)

    assert loading.process.returncode == 130
    assert f"the job goes on; `odyssai jobs {job.id} --follow` shows it" in loading.said.text
    assert f"`odyssai cancel {job.id}` ends it" in loading.said.text
    assert not leader.steered


async def test_a_home_without_a_bus_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ODYSSAI_NATS", raising=False)

    status = await asyncio.to_thread(command.main, ["nodes", "--home", str(tmp_path)])

    assert status == 1
    assert "has no bus; give --nats URL or --home DIR" in capsys.readouterr().err


async def test_a_node_that_joined_tells_where_to_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("ODYSSAI_NATS", raising=False)
    member = Membership(
        mesh="odyssai-1", node=NodeId("studio-2"), addresses=("h:1",), is_encrypted=False
    )
    keep(tmp_path, member, "")

    status = await asyncio.to_thread(command.main, ["nodes", "--home", str(tmp_path)])

    assert status == 1
    assert "this home is node studio-2 of mesh odyssai-1" in capsys.readouterr().err


async def test_a_bus_that_is_not_there_is_told_soon(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(reach, "CONNECT_S", 0.2)

    status = await asyncio.to_thread(command.main, ["nodes", "--nats", "nats://127.0.0.1:1"])

    assert status == 1
    assert "odyssai: no bus at 127.0.0.1:1" in capsys.readouterr().err


async def test_only_one_job_can_be_followed(odyssai: Odyssai) -> None:
    said = await odyssai("jobs", "--follow")

    assert (said.status, said.out) == (2, "")
    assert "needs a JOB" in said.err


async def test_who_loses_the_schedulers_is_told_that_the_job_goes_on(
    odyssai: Odyssai, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "PATIENCE_S", 0.2)
    monkeypatch.setattr(jobs, "SILENCE_S", 0.1)
    async with leading(nats_url) as leader:
        loading = asyncio.create_task(odyssai("load", M))
        job = await leader.followed_job()

    said = await loading
    assert said.status == 1
    assert f"the job goes on; `odyssai jobs {job.id} --follow` shows it" in said.err
    assert "No scheduler answers at this moment" in said.err
