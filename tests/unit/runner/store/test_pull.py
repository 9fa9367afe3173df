"""Models from the hub: the real huggingface_hub against a real server."""

import asyncio
import logging

import pytest
from msgspec.structs import replace

from proto.errors import Code, MeshError
from proto.ids import JobId, ModelId
from proto.plan import WantedTask
from proto.store import Entrust, PullTask
from proto.subjects import ENTRUST
from services.runner.orders import FetchOrder
from services.runner.store.disk import Disk
from services.runner.store.fetch import fetch
from tests.hub import Faults, Hub
from tests.tiny import make_tiny
from tests.unit.runner.store.conftest import living, until, until_there

MODEL = "org/Tiny-1M"


@pytest.fixture
def hub(monkeypatch):
    with Hub.open() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def folder(tmp_path):
    return make_tiny(tmp_path / "published")


def pull(job="j1", wanted="run", **fields) -> WantedTask:
    task = PullTask(job=JobId(job), model=ModelId(MODEL), **fields)
    return WantedTask(task=task, wanted=wanted)


async def test_a_pulled_model_is_found_with_its_commit(hub, folder, new_store):
    commit = hub.add(MODEL, folder, more={"README.md": b"hello", "flax.msgpack": b"no"})

    async with living(new_store()) as store:
        store.set_tasks((pull(),))
        status = await until(store, "j1", "done", "failed")
        model = await until_there(store, MODEL)

    assert status.phase == "done", status
    assert status.done_bytes == status.total_bytes == model.disk_bytes
    assert (model.source, model.revision, model.kind) == (MODEL, commit, "llm")
    assert not [asked for asked in hub.asked if asked.path.endswith(("md", "msgpack"))]


async def test_a_fetched_model_has_the_fingerprint_of_its_folder(hub, folder, new_store):
    hub.add(MODEL, folder)
    store = new_store()

    assert (await store.ensure(MODEL)).fingerprint == (await store.ensure(str(folder))).fingerprint


async def test_what_was_fetched_is_found_without_a_hub(hub, folder, new_store, monkeypatch):
    hub.add(MODEL, folder)
    await new_store().ensure(MODEL)
    asked = len(hub.asked)

    assert (await new_store().ensure(MODEL)).id == MODEL
    assert len(hub.asked) == asked


async def test_a_named_revision_becomes_the_current_one(hub, folder, new_store, tmp_path):
    main = hub.add(MODEL, folder)
    other = hub.add(MODEL, make_tiny(tmp_path / "older", seed=3), ref="v1")

    async with living(new_store()) as store:
        store.set_tasks((pull("j1"),))
        await until(store, "j1", "done")
        first = await until_there(store, MODEL)
        store.set_tasks((pull("j2", revision="v1"),))
        await until(store, "j2", "done")
        second = await store.ensure(MODEL)

    assert (first.revision, second.revision) == (main, other)
    assert first.fingerprint != second.fingerprint


async def test_a_cut_off_file_is_taken_up_where_it_ended(hub, folder, new_store):
    hub.add(MODEL, folder)
    hub.faults = Faults(cut_after=300_000, cuts=1)

    await new_store().ensure(MODEL)

    ranges = [asked.range for asked in hub.asked if asked.path.startswith("/large")]
    assert ranges[0] is None
    assert ranges[1] == "bytes=262144-"


async def test_a_paused_pull_goes_on_where_it_was_even_in_another_life(hub, folder, new_store):
    hub.add(MODEL, folder)
    hub.faults = Faults(bytes_per_s=300_000)

    async with living(new_store("sleeper")) as store:
        store.set_tasks((pull(),))
        async with asyncio.timeout(20):
            while not any(s.done_bytes > 150_000 for s in store.tasks()):
                await asyncio.sleep(0.01)
        store.set_tasks((pull(wanted="pause"),))
        paused = await until(store, "j1", "paused")
    assert paused.done_bytes < paused.total_bytes
    hub.faults = Faults()
    async with living(new_store("sleeper")) as store:
        store.set_tasks((pull(),))
        assert (await until(store, "j1", "done")).total_bytes == paused.total_bytes

    ranges = [asked.range for asked in hub.asked if asked.path.startswith("/large")]
    assert ranges == [None, "bytes=262144-"]


async def test_a_cancelled_pull_leaves_nothing(hub, folder, new_store, cache):
    hub.add(MODEL, folder)
    hub.faults = Faults(bytes_per_s=200_000)

    async with living(new_store()) as store:
        store.set_tasks((pull(),))
        await until(store, "j1", "running")
        async with asyncio.timeout(20):
            while not list(cache.rglob("*.incomplete")):
                await asyncio.sleep(0.01)
        store.set_tasks((pull(wanted="cancel"),))
        await until(store, "j1", "cancelled")

    assert [path for path in cache.rglob("*") if path.is_file()] == []


async def test_a_hub_that_is_unwell_for_a_while_is_asked_again(hub, folder, new_store):
    hub.add(MODEL, folder)
    hub.faults = Faults(unwell=2)

    assert (await new_store().ensure(MODEL)).id == MODEL


async def test_wrong_bytes_are_refused_and_deleted(hub, folder, new_store, cache):
    hub.add(MODEL, folder)
    hub.faults = Faults(is_wrong=True)

    with pytest.raises(MeshError, match=r"model\.safetensors came with other content") as refused:
        await new_store().ensure(MODEL)

    assert refused.value.code is Code.UPSTREAM
    digests = [asked.path[7:] for asked in hub.asked if asked.path.startswith("/large")]
    assert not [path for path in cache.rglob(f"{digests[0]}*") if path.suffix != ".lock"]


def test_a_full_disk_is_noticed_before_the_first_byte(hub, folder):
    hub.add(MODEL, folder)

    with pytest.raises(MeshError, match=r"needs 0\.00 GB .* where 0\.00 GB are free") as refused:
        fetch(FetchOrder(model=MODEL), lambda _: Disk(10**9, 1000))

    assert refused.value.code is Code.NO_DISK
    assert not [asked for asked in hub.asked if "resolve" in asked.path]


@pytest.mark.parametrize(
    ("model", "revision", "code", "remedy"),
    [
        ("org/Gated", None, Code.FORBIDDEN, "accept its terms"),
        ("org/Nowhere", None, Code.MODEL_NOT_FOUND, "check the name"),
        (MODEL, "v99", Code.NOT_FOUND, "no branch, tag or commit v99"),
        ("a/b/c", None, Code.INVALID_REQUEST, "OWNER/NAME"),
        ("org/Pickles", None, Code.LOAD_FAILED, "mlx-community"),
    ],
)
def test_a_refusal_says_what_to_do(hub, folder, tmp_path, model, revision, code, remedy):
    hub.add(MODEL, folder)
    hub.add("org/Gated", folder, token="hf_right")
    (tmp_path / "pickles").mkdir()
    (tmp_path / "pickles" / "config.json").write_text("{}")
    hub.add("org/Pickles", tmp_path / "pickles")

    with pytest.raises(MeshError, match=remedy) as refused:
        fetch(FetchOrder(model=model, revision=revision, token="hf_wrong"))

    assert refused.value.code is code


async def test_an_entrusted_token_opens_a_gated_model_and_is_said_nowhere(
    bus, hub, folder, new_store, caplog, capfd
):
    hub.add(MODEL, folder, token="hf_secret")
    caplog.set_level(logging.DEBUG)
    store = new_store("trusted")

    async with living(store):
        await bus.ask(ENTRUST, Entrust(job=JobId("j1"), token="hf_secret"), "trusted")
        store.set_tasks((pull(),))
        status = await until(store, "j1", "done", "failed")

    assert status.phase == "done", status
    assert "hf_secret" not in caplog.text + "".join(capfd.readouterr()) + repr(store.tasks())


async def test_a_node_that_may_not_ask_the_hub_says_so(hub, folder, new_store, monkeypatch):
    hub.add(MODEL, folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(MeshError, match="HF_HUB_OFFLINE"):
        await new_store().ensure(MODEL)


async def test_a_failed_pull_is_tried_again_when_it_is_wanted_again(hub, folder, new_store):
    hub.add(MODEL, folder, token="hf_right")

    async with living(new_store()) as store:
        store.set_tasks((pull(),))
        failed = await until(store, "j1", "failed")
        assert failed.code == Code.FORBIDDEN.word
        hub.add(MODEL, folder)
        store.set_tasks(())
        async with asyncio.timeout(10):
            while store.tasks():
                await asyncio.sleep(0.01)
        store.set_tasks((replace(pull()),))
        assert (await until(store, "j1", "done", "failed")).phase == "done"
