"""Models from node to node, over HTTP, with a ticket."""

import asyncio
import hashlib
import os
import time

import httpx
import pytest

from proto.errors import Code, MeshError
from proto.ids import JobId, ModelId, NodeId
from proto.plan import WantedTask
from proto.store import CopyTask, LendFiles, LentFile
from proto.subjects import LEND_FILES
from services.runner.children.orders import BorrowOrder
from services.runner.disk import Disk, disk_of
from services.runner.store.borrow import Incoming, borrow
from services.runner.store.lending import LOAN_S, Lending, range_of
from services.runner.store.parts import parts_of
from tests.hub import Faults, Hub
from tests.small_disk import small_disk
from tests.tiny import make_tiny
from tests.unit.runner.store.conftest import living, until, until_there

MODEL = "org/Tiny-1M"


def copy_from(node, model=MODEL, job="c1") -> tuple[WantedTask, ...]:
    task = CopyTask(job=JobId(job), model=ModelId(model), source=NodeId(node))
    return (WantedTask(task=task),)


def lent_file(content: bytes) -> LentFile:
    digest = hashlib.sha256(content).hexdigest()
    return LentFile(path="file", size=len(content), sha256=digest)


def lend(bus, node, model):
    return bus.ask(LEND_FILES, LendFiles(model=ModelId(model), borrower=NodeId("b")), node)


async def test_a_model_of_the_hub_is_copied_faster_than_it_is_fetched_and_is_the_same(
    new_store, tmp_path, monkeypatch
):
    with Hub.open() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        commit = hub.add(MODEL, make_tiny(tmp_path / "published"))
        hub.faults = Faults(bytes_per_s=200_000)
        began = time.monotonic()
        lender = new_store("lender")
        fetched = await lender.ensure(MODEL)
        fetching_s = time.monotonic() - began
    async with living(lender):
        monkeypatch.setenv("HF_HOME", str(tmp_path / "borrower"))
        began = time.monotonic()
        async with living(new_store("borrower")) as borrower:
            assert borrower.find(MODEL) is None
            borrower.set_tasks(copy_from("lender"))
            status = await until(borrower, "c1", "done", "failed")
            copying_s = time.monotonic() - began
            copied = await until_there(borrower, MODEL)

    assert status.phase == "done", status
    assert (copied.fingerprint, copied.revision) == (fetched.fingerprint, commit)
    assert copying_s < fetching_s


async def test_a_folder_of_one_node_becomes_a_folder_of_the_other(new_store, tmp_path):
    make_tiny(tmp_path / "homes" / "giver" / "models" / "Own-4bit")

    async with living(new_store("giver")) as giver, living(new_store("taker")) as taker:
        taker.set_tasks(copy_from("giver", "own-4bit"))
        status = await until(taker, "c1", "done", "failed")
        copied = await until_there(taker, "Own-4bit")

    assert status.phase == "done", status
    assert copied.fingerprint == giver.find("Own-4bit").fingerprint
    assert copied.source == str(tmp_path / "homes" / "taker" / "models" / "Own-4bit")


async def test_only_what_differs_is_copied_again(new_store, tmp_path):
    lent = make_tiny(tmp_path / "homes" / "old" / "models" / "Changing")
    copied = tmp_path / "homes" / "follower" / "models" / "Changing"

    async with living(new_store("old")) as old, living(new_store("follower")) as follower:
        follower.set_tasks(copy_from("old", "Changing"))
        await until(follower, "c1", "done")
        before = (copied / "model.safetensors").stat().st_ino
        (lent / "generation_config.json").write_text('{"eos_token_id": 5}')
        await old.ensure(str(lent))
        follower.set_tasks(copy_from("old", "Changing", job="c2"))
        assert (await until(follower, "c2", "done", "failed")).phase == "done"

    assert (copied / "model.safetensors").stat().st_ino == before
    assert (copied / "generation_config.json").read_text() == '{"eos_token_id": 5}'


async def test_a_corrupted_byte_is_refused(new_store, tmp_path):
    folder = make_tiny(tmp_path / "homes" / "worn" / "models" / "Worn")

    async with living(new_store("worn")), living(new_store("careful")) as careful:
        weights = folder / "model.safetensors"
        state, content = weights.stat(), bytearray(weights.read_bytes())
        content[-1] ^= 1
        weights.write_bytes(content)
        os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))  # As a dying disk does.
        careful.set_tasks(copy_from("worn", "Worn"))
        status = await until(careful, "c1", "done", "failed")

    assert status.phase == "failed"
    assert "model.safetensors came with other content" in status.error
    assert list((tmp_path / "homes" / "careful").rglob("*safetensors*")) == []


async def test_only_what_was_lent_is_had_and_only_with_its_ticket(bus, new_store, tmp_path):
    models = tmp_path / "homes" / "strict" / "models"
    make_tiny(models / "Lent")
    (models / "Lent" / "README.md").write_text("private notes")
    (tmp_path / "homes" / "strict" / "secret").write_text("secret")

    async with living(new_store("strict")), httpx.AsyncClient(trust_env=False) as client:
        lent = await lend(bus, "strict", "Lent")
        ticket = {"Authorization": f"Bearer {lent.ticket}"}
        whole = await client.get(f"{lent.url}/config.json", headers=ticket)
        part = await client.get(f"{lent.url}/config.json", headers=ticket | {"Range": "bytes=1-3"})
        refused = {
            path: (await client.get(f"{lent.url}/{path}", headers=ticket)).status_code
            for path in ("README.md", "%2e%2e/secret", "..%2fsecret", "%2fetc/passwd", "")
        }
        no_ticket = await client.get(f"{lent.url}/config.json")
        too_far = await client.get(
            f"{lent.url}/config.json", headers=ticket | {"Range": "bytes=9-99999"}
        )

    assert whole.content == (models / "Lent" / "config.json").read_bytes()
    assert (part.status_code, part.content) == (206, whole.content[1:4])
    assert set(refused.values()) == {404}
    assert (no_ticket.status_code, too_far.status_code) == (401, 416)


async def test_what_is_not_there_is_not_lent(bus, new_store):
    async with living(new_store("poor")):
        with pytest.raises(MeshError) as refused:
            await lend(bus, "poor", "Nothing")
    assert refused.value.code is Code.MODEL_NOT_FOUND


def test_a_loan_ends_when_nobody_comes_for_it(tmp_path):
    now = 0.0
    lending = Lending(lambda: now)
    first = lending.lend(parts_of(make_tiny(tmp_path / "t"), trusts_code=False))

    now = LOAN_S + 1
    second = lending.lend([])

    assert list(lending._loans) == [second]
    assert first != second


@pytest.mark.parametrize("said", ["bytes=5-4", "bytes=0-10", "bytes=-3", "lines=0-1", "bytes=x-"])
def test_a_range_that_a_file_does_not_have_is_refused(said):
    with pytest.raises(ValueError):  # noqa: PT011 - whichever way it makes no sense
        range_of(said, 10)


def test_a_copy_goes_on_with_the_pieces_that_it_lacks(tmp_path, monkeypatch):
    monkeypatch.setattr("services.runner.store.borrow.PIECE_BYTES", 4)
    file = lent_file(b"0123456789")
    first = Incoming(file, tmp_path / "file")
    first.open()
    first.write(4, b"4567")
    first.tick_off(first.missing()[1])

    second = Incoming(file, tmp_path / "file")

    assert (second.done_bytes, [tuple(p) for p in second.missing()]) == (4, [(0, 4), (8, 10)])
    second.open()
    second.write(0, b"0123")
    second.write(8, b"89")
    second.accept()
    assert (tmp_path / "file").read_bytes() == b"0123456789"


def test_a_full_disk_is_noticed_before_anything_is_asked_for(tmp_path):
    order = BorrowOrder(
        model="Large", url="http://127.0.0.1:9", ticket="t", files=(lent_file(b"x" * 2000),),
        folder=str(tmp_path / "Large"),
    )  # fmt: skip

    with pytest.raises(MeshError) as refused:
        borrow(order, lambda _: Disk(10**9, 2000))
    assert refused.value.code is Code.NO_DISK


async def test_a_disk_that_runs_full_on_the_way_ends_the_copy_with_what_is_missing(
    bus, new_store, tmp_path
):
    make_tiny(tmp_path / "homes" / "full" / "models" / "Whole")
    before = iter([Disk(10**9, 10**9)])
    with small_disk(tmp_path / "disk", 300_000) as disk:
        async with living(new_store("full")):
            lent = await lend(bus, "full", "Whole")
            order = BorrowOrder(
                model="Whole", url=lent.url, ticket=lent.ticket, files=lent.files,
                folder=str(disk / "Whole"),
            )  # fmt: skip
            with pytest.raises(
                MeshError, match=r"0\.\d\d MB are free\. Delete 0\.\d\d MB"
            ) as ended:
                await asyncio.to_thread(borrow, order, lambda at: next(before, None) or disk_of(at))

    assert ended.value.code is Code.NO_DISK


async def test_a_copy_waits_for_a_node_that_is_gone_for_a_while(new_store, tmp_path, monkeypatch):
    monkeypatch.setattr("services.runner.store.copying.AGAIN_S", 0.05)
    make_tiny(tmp_path / "homes" / "late" / "models" / "Late")

    async with living(new_store("patient")) as patient:
        patient.set_tasks(copy_from("late", "Late"))
        async with asyncio.timeout(10):
            while not any("waiting" in status.step for status in patient.tasks()):
                await asyncio.sleep(0.005)
        async with living(new_store("late")):
            assert (await until(patient, "c1", "done", "failed")).phase == "done"
