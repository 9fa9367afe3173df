"""Names that others choose never lead out of the folders that they are meant for."""

import json
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from proto.errors import Code, MeshError
from proto.ids import JobId, ModelId, NodeId, fresh
from proto.store import (
    ConvertTask,
    CopyTask,
    FilesLent,
    Footprint,
    LendFiles,
    LentFile,
    StoredModel,
)
from proto.subjects import LEND_FILES
from services.runner.children.orders import FetchOrder
from services.runner.models import hub_cache
from services.runner.models.folder import is_whole
from services.runner.models.paths import is_inside, is_name, is_revision
from services.runner.store import deletion
from services.runner.store.conversion import folder_of
from services.runner.store.copying import copy
from services.runner.store.fetch import fetch
from services.runner.store.inventory import Found, Places, found_at, found_in_hub_cache
from services.runner.store.lent import expect_sound
from services.runner.store.parts import parts_of
from services.runner.store.settings import Settings
from services.runner.store.shelf import Shelf
from services.runner.store.tasks import Progress
from tests.tiny import make_tiny

ELSEWHERE = [
    "../config.json", "a/../../config.json", "/etc/config.json", "a//config.json", "./config.json",
    "..\\config.json", "C:\\config.json", "c:config.json", "con\x00fig.json", "a\nb.json",
    ".hidden.json", "a/.git/config.json", "", "x" * 300 + ".json", "a/" * 20 + "config.json",
    "\u202egnp.json",
]  # fmt: skip


@pytest.mark.parametrize("path", ELSEWHERE)
def test_no_path_of_a_stranger_leads_elsewhere(path):
    assert not is_inside(path)


@pytest.mark.parametrize(
    "path", ["config.json", "1_Pooling/config.json", "Modell ü.json", "a-b_c+d@e.txt"]
)
def test_paths_that_models_have_are_taken(path):
    assert is_inside(path)


@pytest.mark.parametrize("name", ["..", ".", "", "a/b", "a\\b", "a\x00", "\ud800", ".x", "a:b"])
def test_what_is_no_folder_name_is_not_taken_for_one(name):
    assert not is_name(name)


@pytest.mark.parametrize(
    "revision", ["../../x", "/x", "a/../b", "refs//main", "a b", "", "-x", "a\x00", "x" * 300, ".x"]
)
def test_a_revision_that_leads_elsewhere_is_not_asked_for(revision):
    assert not is_revision(revision)
    with pytest.raises(MeshError, match="no revision"):
        fetch(FetchOrder(model="org/name", revision=revision))


@pytest.mark.parametrize("revision", ["main", "refs/pr/3", "v1.0-rc_2", "a" * 40])
def test_revisions_that_hubs_have_are_taken(revision):
    assert is_revision(revision)


FILE = LentFile(path="config.json", size=2, sha256="a" * 64)


def lending(*files: LentFile, **of_model: str) -> FilesLent:
    model = StoredModel(
        **({"id": ModelId("org/name"), "source": "org/name"} | of_model),  # type: ignore[arg-type]
        fingerprint="f",
        disk_bytes=2,
        footprint=Footprint(weights_bytes=1, kv_bytes_per_token=1, context_length=1),
    )
    return FilesLent(url="http://10.0.0.7:1", ticket="t", files=files or (FILE,), model=model)


@pytest.mark.parametrize(
    "lent",
    [
        *(lending(replace(FILE, path=path)) for path in ELSEWHERE),
        lending(replace(FILE, path="run.py")),
        lending(replace(FILE, path="weights.bin")),
        lending(replace(FILE, blob="../../../x")),
        lending(replace(FILE, sha256="../x")),
        lending(replace(FILE, size=-1)),
        lending(FILE, replace(FILE, path="../x.json")),
        lending(revision="../../../x"),
        lending(id="org/.."),
        lending(id="org/"),
        lending(id=".."),
        replace(lending(), url="file:///etc/passwd"),
    ],
)
def test_what_a_node_must_not_lend_is_not_taken(lent):
    with pytest.raises(MeshError) as refused:
        expect_sound(lent, trusts_code=False)

    assert refused.value.code is Code.INVALID_REQUEST


def test_what_nodes_lend_is_taken():
    hub = replace(FILE, blob="b" * 40)
    expect_sound(lending(), trusts_code=False)
    expect_sound(lending(hub, revision="c" * 40), trusts_code=False)
    expect_sound(lending(replace(FILE, path="model.py")), trusts_code=True)


async def test_a_node_that_lends_strange_paths_writes_nothing_here(bus, tmp_path):
    async def lend(asked: LendFiles) -> FilesLent:
        return lending(replace(FILE, path="../../../evil.json"))

    node = NodeId(f"evil-{fresh()}")
    await bus.answer(LEND_FILES, lend, node)
    await bus.settled()
    shelf = Shelf(tmp_path / "home", Settings(shelves=(), files_host="", trusts_code=False))
    task = CopyTask(job=JobId("j"), model=ModelId("org/name"), source=node)

    with pytest.raises(MeshError, match="evil"):
        await copy(bus, NodeId("me"), shelf, task, Progress())

    assert list(tmp_path.rglob("*evil*")) == []


@pytest.mark.parametrize("name", ["..", "a/..", "a/", "x\x00y", ".x", "", "a/\\b"])
def test_a_conversion_gets_a_folder_of_its_own(tmp_path, name):
    shelf = Shelf(tmp_path / "home", Settings(shelves=(), files_host="", trusts_code=False))
    task = ConvertTask(job=JobId("j"), model=ModelId("m"), name=ModelId(name))

    with pytest.raises(MeshError, match="no name for a model"):
        folder_of(shelf, task)


@pytest.mark.parametrize("way", ["models/..", "models/x/../..", "models/."])
def test_a_way_around_leads_to_no_folder_of_ours(tmp_path, way):
    own = tmp_path / "models"
    found = found_at(str(tmp_path / way), Places(own))

    assert found.origin == "foreign"
    with pytest.raises(MeshError):
        deletion.delete(found, own)


@pytest.mark.parametrize("folder", ["", "..", "."])
def test_the_folder_of_all_models_is_not_deleted_for_one_of_them(tmp_path, folder):
    own = tmp_path / "models"
    own.mkdir()
    found = Found(Path(f"{own}/{folder}"), ModelId("m"), "m", "own")

    with pytest.raises(MeshError):
        deletion.delete(found, own)

    assert own.is_dir()


def test_deleting_a_link_deletes_nothing_behind_it(tmp_path):
    outside = make_tiny(tmp_path / "outside")
    own = tmp_path / "models"
    own.mkdir()
    (own / "m").symlink_to(outside)

    with pytest.raises(OSError, match="symbolic link"):
        deletion.delete(found_at(str(own / "m"), Places(own)), own)

    assert is_whole(outside)


def test_a_model_of_the_hub_is_deleted_and_nothing_behind_its_links(tmp_path, cache):
    precious = tmp_path / "precious.json"
    precious.write_text("{}")
    folder = cache / "models--org--name" / "snapshots" / ("a" * 40)
    make_tiny(folder)
    (folder / "generation_config.json").unlink()
    (folder / "generation_config.json").symlink_to(precious)
    (cache / "models--org--name" / "refs").mkdir()
    (cache / "models--org--name" / "refs" / "main").write_text("a" * 40)
    snapshot = hub_cache.snapshot("org/name")
    assert snapshot is not None

    deletion.delete(found_in_hub_cache(snapshot), tmp_path / "models")

    assert not folder.exists()
    assert precious.exists()


def test_files_elsewhere_are_no_part_of_a_model_but_for_its_weights(tmp_path):
    folder = make_tiny(tmp_path / "m")
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (folder / "secret.json").symlink_to(secret)
    (folder / "more").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder)
    weights = tmp_path / "weights.safetensors"
    shutil.move(folder / "model.safetensors", weights)
    (folder / "model.safetensors").symlink_to(weights)
    (folder / "added.json").symlink_to("config.json")

    paths = {part.path for part in parts_of(folder, trusts_code=False)}

    assert {"model.safetensors", "added.json", "config.json"} <= paths
    assert not any("secret" in path or "/" in path for path in paths)


@pytest.mark.parametrize("shard", ["../elsewhere.safetensors", "/tmp/x.safetensors", 7])
def test_an_index_names_shards_of_its_own_folder(tmp_path, shard):
    folder = make_tiny(tmp_path / "m")
    shutil.copy(folder / "model.safetensors", tmp_path / "elsewhere.safetensors")
    index = {"weight_map": {"a": shard}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))

    assert not is_whole(folder)


def test_modules_are_looked_for_in_their_own_folder(tmp_path):
    make_tiny(tmp_path / "other")
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "modules.json").write_text(json.dumps([{"path": "../other"}]))

    assert not is_whole(folder)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pth", "weights.npz"])
async def test_a_folder_of_pickles_is_refused_by_name(new_store, tmp_path, name):
    folder = make_tiny(tmp_path / "m")
    (folder / "model.safetensors").rename(folder / name)

    with pytest.raises(MeshError, match=name) as refused:
        await new_store().ensure(str(folder))

    assert "Convert them to safetensors" in refused.value.message
