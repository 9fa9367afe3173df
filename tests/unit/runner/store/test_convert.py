"""Models in another form, and models deleted."""

import json

import pytest
from msgspec.structs import replace

from proto.errors import Code, MeshError
from proto.ids import JobId, ModelId
from proto.plan import WantedTask
from proto.store import ConvertTask, DeleteTask
from services.runner.children.orders import JOB_FILE, ConvertOrder, FetchOrder
from services.runner.engine.convert import convert as engine_convert
from services.runner.engine.loading import load
from services.runner.store.fetch import fetch
from services.runner.store.weights import read_tensors
from tests import tiny_readers
from tests.hub import Hub
from tests.small_disk import small_disk
from tests.tiny import make_tiny
from tests.unit.runner.store.conftest import living, until, until_there


def convert(job="v1", model="Tiny", name="org/Tiny-4bit", **form) -> tuple[WantedTask, ...]:
    task = ConvertTask(job=JobId(job), model=ModelId(model), name=ModelId(name), **form)
    return (WantedTask(task=task),)


def delete(model) -> tuple[WantedTask, ...]:
    return (WantedTask(task=DeleteTask(job=JobId("d1"), model=ModelId(model))),)


@pytest.fixture
def models(tmp_path):
    """The own models of the node called ``maker``."""
    make_tiny(tmp_path / "homes" / "maker" / "models" / "Tiny")
    return tmp_path / "homes" / "maker" / "models"


async def test_a_model_is_quantised_into_one_of_the_node_s_own(new_store, models):
    async with living(new_store("maker")) as store:
        store.set_tasks(convert(bits=4, group_size=32))
        status = await until(store, "v1", "done", "failed")
        assert status.phase == "done", status
        made = await until_there(store, "Tiny-4bit")

    assert (made.quantization, made.source) == ("4bit", str(models / "Tiny-4bit"))
    assert made.disk_bytes < (models / "Tiny" / "model.safetensors").stat().st_size / 3
    assert load(made.source, models).card.size_bytes == made.footprint.weights_bytes


def order(models, source, folder, **form) -> ConvertOrder:
    return ConvertOrder(
        source=str(models / source),
        home=str(models),
        folder=str(models / folder),
        job="a",
        total_bytes=0,
        **form,
    )


def test_a_quantised_model_is_written_out_again_in_the_width_that_is_asked_for(models):
    engine_convert(order(models, "Tiny", "T8", bits=8))
    engine_convert(order(models, "T8", "T", dtype="float16"))

    kinds = {tensor.dtype for tensor in read_tensors([models / "T" / "model.safetensors"]).values()}
    assert kinds == {"F16"}
    assert "quantization" not in json.loads((models / "T" / "config.json").read_text())


def test_a_disk_that_is_full_ends_the_conversion_and_has_nothing_of_it(models, tmp_path):
    with small_disk(tmp_path / "disk", 300_000) as disk:
        told = replace(order(models, "Tiny", "T"), folder=str(disk / "T"), total_bytes=900_000)
        with pytest.raises(
            MeshError, match=r"writing T needs 0\.9\d MB .* delete 0\.\d\d MB"
        ) as ended:
            engine_convert(told)

        assert list(disk.iterdir()) == []
    assert ended.value.code is Code.NO_DISK


async def test_a_name_that_is_taken_is_refused_but_for_the_job_that_took_it(new_store, models):
    (make_tiny(models / "Tiny-4bit") / JOB_FILE).write_text("v1")

    async with living(new_store("maker")) as store:
        store.set_tasks((*convert("v1", bits=4), *convert("v2", bits=8)))
        again = await until(store, "v1", "done", "failed")
        refused = await until(store, "v2", "failed")

    assert (refused.code, again.phase) == (Code.CONFLICT.word, "done")


async def test_what_mlx_lm_cannot_convert_is_refused(new_store, models):
    tiny_readers.make_encoder(models / "Reader", "bert")

    async with living(new_store("maker")) as store:
        store.set_tasks(convert(model="Reader", bits=4))
        status = await until(store, "v1", "failed")

    assert "embedder" in status.error


def test_a_model_that_mlx_lm_does_not_know_leaves_nothing(models):
    config = models / "Tiny" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"model_type": "abacus"}))

    with pytest.raises(MeshError, match="abacus"):
        engine_convert(order(models, "Tiny", "T8"))
    assert [folder.name for folder in models.iterdir()] == ["Tiny"]


async def test_a_loaded_model_is_not_deleted_and_an_unloaded_one_is(new_store, models):
    async with living(new_store("maker")) as store:
        store.is_loaded = lambda model: model == "Tiny"
        store.set_tasks(delete("tiny"))
        refused = await until(store, "d1", "failed")
        assert (models / "Tiny").exists()
        assert refused.code == Code.CONFLICT.word
        assert "odyssai unload Tiny" in refused.error

        store.is_loaded = lambda model: False
        store.set_tasks((WantedTask(task=DeleteTask(job=JobId("d2"), model=ModelId("Tiny"))),))
        await until(store, "d2", "done")

    assert not (models / "Tiny").exists()


async def test_a_folder_that_was_only_named_is_never_deleted(new_store, tmp_path):
    folder = make_tiny(tmp_path / "elsewhere" / "Theirs")
    store = new_store()
    await store.ensure(str(folder))

    async with living(store):
        store.set_tasks(delete("Theirs"))
        status = await until(store, "d1", "failed")

    assert folder.exists()
    assert "by hand" in status.error


async def test_a_deleted_model_of_the_hub_is_gone_with_all_its_blobs(
    new_store, tmp_path, cache, monkeypatch
):
    with Hub.open() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        hub.add("org/Gone", make_tiny(tmp_path / "published"))
        fetch(FetchOrder(model="org/Gone"))

    async with living(new_store()) as store:
        store.set_tasks(delete("org/Gone"))
        assert (await until(store, "d1", "done", "failed")).phase == "done"

    assert not list(cache.glob("models--*"))
