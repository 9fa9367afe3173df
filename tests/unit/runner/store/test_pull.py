"""Models from the hub: the real huggingface_hub against a real server."""

import asyncio
import logging
import re

import pytest
from huggingface_hub import snapshot_download

from proto.errors import Code, MeshError
from proto.ids import JobId, ModelId
from proto.plan import WantedTask
from proto.store import Entrust, PullTask
from proto.subjects import ENTRUST
from services.runner.children.orders import FetchOrder
from services.runner.disk import Disk
from services.runner.models import hub_cache
from services.runner.store import fetch as fetching
from services.runner.store.fetch import fetch
from tests.hub import Faults, Hub
from tests.small_disk import fill, small_disk
from tests.tiny import make_tiny
from tests.unit.runner.store.conftest import living, until, until_there

MODEL = "org/Tiny-1M"


@pytest.fixture
def hub(monkeypatch):
    """With a client that does not wait long between attempts."""
    monkeypatch.setattr(fetching, "FIRST_WAIT_S", 0.01)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", fetching.CHUNK_BYTES)
    with Hub.open() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.fixture
def folder(tmp_path):
    return make_tiny(tmp_path / "published")


def pull(job="j1", wanted="run", **fields) -> WantedTask:
    task = PullTask(job=JobId(job), model=ModelId(MODEL), **fields)
    return WantedTask(task=task, wanted=wanted)


def ranges(hub: Hub) -> list[str | None]:
    """Of the requests for the weights."""
    wanted = [asked for asked in hub.asked if asked.path.startswith("/large")]
    assert not any(asked.token for asked in wanted), "tokens are the hub's, not its storage's"
    return [asked.range for asked in wanted if asked.method == "GET"]


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
    fetch(FetchOrder(model=MODEL))
    store = new_store()

    assert (await store.ensure(MODEL)).fingerprint == (await store.ensure(str(folder))).fingerprint


async def test_what_a_flag_names_is_fetched_once(hub, folder, new_store):
    hub.add(MODEL, folder)
    fetched = await new_store().ensure(MODEL)
    asked = len(hub.asked)

    assert await new_store().ensure(MODEL) == fetched
    assert len(hub.asked) == asked


async def test_a_named_revision_becomes_the_current_one(hub, folder, new_store, tmp_path):
    main = hub.add(MODEL, folder)
    other = hub.add(MODEL, make_tiny(tmp_path / "older", seed=3), ref="v1")
    store = new_store()

    fetch(FetchOrder(model=MODEL))
    first = await store.ensure(MODEL)
    fetch(FetchOrder(model=MODEL, revision="v1"))
    second = await store.ensure(MODEL)

    assert (first.revision, second.revision) == (main, other)
    assert first.fingerprint != second.fingerprint


def test_a_cut_off_file_is_taken_up_where_it_ended(hub, folder):
    hub.add(MODEL, folder)
    hub.faults = Faults(cut_after=300_000, cuts=1)

    fetch(FetchOrder(model=MODEL))

    assert ranges(hub) == [None, "bytes=262144-"]


async def test_a_paused_pull_goes_on_where_it_was_even_in_another_life(hub, folder, new_store):
    hub.add(MODEL, folder)
    hub.faults = Faults(bytes_per_s=400_000)

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

    assert ranges(hub) == [None, "bytes=262144-"]


def test_files_of_another_program_s_pull_are_used(hub, folder, cache):
    hub.add(MODEL, folder)
    snapshot_download(MODEL, endpoint=hub.url, cache_dir=cache, max_workers=1)
    asked = len(ranges(hub))

    fetch(FetchOrder(model=MODEL))

    assert len(ranges(hub)) == asked == 1


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

    assert {path.suffix for path in cache.rglob("*") if path.is_file()} == {".lock"}


def test_a_hub_that_is_unwell_for_a_while_is_asked_again(hub, folder):
    hub.add(MODEL, folder)
    hub.faults = Faults(unwell=2)

    fetch(FetchOrder(model=MODEL))

    assert hub_cache.snapshot(MODEL) is not None


def test_a_hub_that_stays_away_is_named(hub, folder, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    with pytest.raises(MeshError, match=r"127\.0\.0\.1:9 cannot be reached") as refused:
        fetch(FetchOrder(model=MODEL))
    assert refused.value.code is Code.UPSTREAM


def test_wrong_bytes_are_refused_and_deleted(hub, folder, cache):
    hub.add(MODEL, folder)
    hub.faults = Faults(is_wrong=True)

    with pytest.raises(MeshError, match=r"model\.safetensors came with other content") as refused:
        fetch(FetchOrder(model=MODEL))

    assert refused.value.code is Code.UPSTREAM
    digests = [asked.path[7:] for asked in hub.asked if asked.path.startswith("/large")]
    assert not [path for path in cache.rglob(f"{digests[0]}*") if path.suffix != ".lock"]


def test_a_full_disk_is_noticed_before_the_first_byte(hub, folder):
    hub.add(MODEL, folder)

    with pytest.raises(MeshError, match=r"needs 0\.\d\d MB .* where 0\.00 MB are free") as refused:
        fetch(FetchOrder(model=MODEL), lambda _: Disk(10**9, 1000))

    assert refused.value.code is Code.NO_DISK
    assert not [asked for asked in hub.asked if "resolve" in asked.path]


async def test_a_disk_that_runs_full_on_the_way_fails_the_pull_with_what_is_missing(
    hub, folder, new_store, tmp_path, monkeypatch
):
    hub.add(MODEL, folder)
    hub.faults = Faults(bytes_per_s=200_000)
    with small_disk(tmp_path / "disk", 8 << 20) as disk:
        monkeypatch.setenv("HF_HOME", str(disk))
        async with living(new_store()) as store:
            store.set_tasks((pull(),))
            async with asyncio.timeout(20):
                while not ranges(hub):
                    await asyncio.sleep(0.01)
            hog = fill(disk, leaving=300_000)
            failed = await until(store, "j1", "failed", "done")
            (kept,) = (part.stat().st_size for part in disk.rglob("*.incomplete"))
            hog.unlink()
            hub.faults = Faults()
            store.set_tasks((pull("j2"),))
            done = await until(store, "j2", "done", "failed")

    assert (failed.phase, failed.code) == ("failed", Code.NO_DISK.word)
    assert re.search(r"0\.\d\d MB are free\. Delete 0\.\d\d MB there", failed.error)
    assert done.phase == "done", done
    assert 0 < kept < done.total_bytes
    assert ranges(hub) == [None, f"bytes={kept}-"]


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
    assert ranges(hub) == [None]
    assert "hf_secret" not in caplog.text + "".join(capfd.readouterr()) + repr(store.tasks())


async def test_a_node_that_may_not_ask_the_hub_says_so(hub, folder, new_store, monkeypatch):
    hub.add(MODEL, folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    with pytest.raises(MeshError, match="HF_HUB_OFFLINE"):
        await new_store().ensure(MODEL)
