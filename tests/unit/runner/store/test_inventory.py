"""What a node says of its disk."""

import asyncio
import json

import pytest

from bus.state import Bucket
from proto.errors import Code, MeshError
from proto.store import STORES, Store
from tests.tiny import make_tiny
from tests.unit.runner.store.conftest import living


async def told(bus, node) -> Store:
    """What the mesh knows of a node, as soon as it knows anything."""
    stores = await Bucket.open(bus, STORES, Store)
    async with asyncio.timeout(10):
        while (record := await stores.get(node)) is None:
            await asyncio.sleep(0.01)
    return record[0]


async def test_a_node_says_what_is_on_its_disk(bus, new_store, tmp_path, monkeypatch):
    plain = make_tiny(tmp_path / "shelf" / "Plain")
    make_tiny(tmp_path / "shelf" / "owner" / "Owned")
    make_tiny(tmp_path / "homes" / "talker" / "models" / "Own-4bit")
    monkeypatch.setenv("ODYSSAI_MODEL_DIRS", str(tmp_path / "shelf"))

    async with living(new_store("talker")):
        record = await told(bus, "talker")

    models = {model.id: model for model in record.models}
    assert {"Plain", "Owned", "Own-4bit"} <= set(models)
    assert models["Plain"].source == str(plain)
    assert models["Plain"].aliases == ("plain",)
    assert models["Plain"].fingerprint == models["Owned"].fingerprint
    assert 0 < record.free_disk_bytes < record.total_disk_bytes


async def test_half_a_model_is_none(new_store, tmp_path):
    folder = make_tiny(tmp_path / "homes" / "halved" / "models" / "Half")
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    async with living(new_store("halved")) as store:
        assert store.find("Half") is None


async def test_what_cannot_be_read_is_left_out_and_the_rest_is_told(new_store, tmp_path):
    models = tmp_path / "homes" / "torn" / "models"
    make_tiny(models / "Whole")
    (make_tiny(models / "Torn") / "model.safetensors").write_bytes(b"no header")

    async with living(new_store("torn")) as store:
        assert store.find("Torn") is None
        assert store.find("whole") is not None


async def test_a_named_folder_is_known_by_every_name_it_goes_by(new_store, tmp_path, monkeypatch):
    make_tiny(tmp_path / "elsewhere" / "Named-1B")
    monkeypatch.chdir(tmp_path)
    store = new_store()

    model = await store.ensure("./elsewhere/Named-1B")

    assert model.id == "Named-1B"
    async with living(store):
        names = ("Named-1B", "named-1b", "./elsewhere/Named-1B")
        assert [store.find(name) for name in names] == [model] * 3


@pytest.mark.parametrize("source", ["/nowhere/at/all", "./nowhere", "nowhere"])
async def test_a_named_folder_that_is_not_there_is_refused_by_its_path(new_store, source):
    with pytest.raises(MeshError, match="no model folder") as refused:
        await new_store().ensure(source)
    assert refused.value.code is Code.MODEL_NOT_FOUND


async def test_a_changed_file_changes_the_fingerprint(new_store, tmp_path):
    folder = make_tiny(tmp_path / "Changing")
    store = new_store()
    before = await store.ensure(str(folder))

    make_tiny(folder, seed=1)

    assert (await store.ensure(str(folder))).fingerprint != before.fingerprint


async def test_a_file_is_read_once_across_lives_of_the_agent(new_store, tmp_path, monkeypatch):
    folder = make_tiny(tmp_path / "Large")
    before = await new_store("reader").ensure(str(folder))

    def read_again(file):
        raise AssertionError(f"{file} was hashed again")

    monkeypatch.setattr("services.runner.store.hashes.sha256_of", read_again)
    assert (await new_store("reader").ensure(str(folder))) == before
