"""What an agent says of how a model could be split, by its files."""

import json

from proto.layout import Layout
from services.runner.store.footprint import footprint, layout_of
from services.runner.store.layout import layout
from services.runner.store.weights import Tensor
from tests.tiny import Shape, make_tiny

EXPERTS = {
    "model_type": "qwen3_moe", "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "hidden_size": 8, "num_experts": 8, "num_experts_per_tok": 2,
    "moe_intermediate_size": 128, "quantization": {"bits": 4, "group_size": 64},
}  # fmt: skip


def test_layers_and_the_rest_are_all_there_is(tmp_path):
    folder = make_tiny(tmp_path / "m", shape=Shape("qwen2", layers=5))
    found = layout_of(folder, "generator", unpacks=True)
    size = footprint(folder, "generator", unpacks=True)

    assert found
    assert found.layers == 5
    assert sum(found.layer_bytes) + found.outer_bytes == size.weights_bytes
    assert sum(found.kv_bytes) == size.kv_bytes_per_token
    assert (found.is_divisible, found.is_stageable) == (True, True)
    assert found.divided == {
        "attention heads": 4, "KV heads": 2, "numbers across its feed-forward layers": 128
    }  # fmt: skip


def test_a_token_reads_all_but_the_embedding(tmp_path):
    folder = make_tiny(tmp_path / "m")
    found = layout_of(folder, "generator", unpacks=True)

    assert found
    assert found.read_bytes == sum(found.layer_bytes) + found.outer_bytes - 512 * 64 * 4


def test_a_token_reads_the_experts_that_it_goes_to():
    tensors = {
        f"model.layers.{layer}.mlp.{name}": Tensor("U32", (100,))
        for layer in range(2)
        for name in ("switch_mlp.up_proj.weight", "shared_expert.up_proj.weight")
    }
    found = layout(tensors, EXPERTS, 2, unpacks=False)

    assert found.layer_bytes == (800, 800)
    assert found.read_bytes == 2 * (400 + 400 * 2 // 8)


def test_quantised_weights_are_divided_in_whole_groups():
    assert layout({}, EXPERTS, 2, unpacks=False).divided == {
        "attention heads": 4, "KV heads": 2, "groups of 64 numbers across its experts": 2
    }  # fmt: skip


def test_layers_for_drafting_are_none_of_the_model():
    tensors = {f"model.layers.{layer}.w": Tensor("F16", (1,)) for layer in range(3)}
    found = layout(tensors, EXPERTS, 2, unpacks=False)

    assert (found.layer_bytes, found.outer_bytes) == ((2, 2), 0)


def test_a_latent_cache_has_no_heads_to_divide():
    config = EXPERTS | {"model_type": "deepseek_v3", "kv_lora_rank": 4, "qk_rope_head_dim": 2}

    assert layout({}, config, 2, unpacks=False).keeps_kv_whole
    assert not layout({}, EXPERTS, 2, unpacks=False).keeps_kv_whole


def test_what_generates_nothing_is_never_split(tmp_path):
    folder = make_tiny(tmp_path / "m")
    (folder / "modules.json").write_text(json.dumps([{"path": ""}]))

    assert layout_of(folder, "embedder") is None
    assert isinstance(layout_of(folder, "generator"), Layout)
