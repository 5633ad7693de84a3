"""What `--dry-run` guesses, on numbers small enough to check by hand."""

import json
import math

import pytest

from agentsearch.train.estimate import guess, lora_parameters, weight_shapes
from agentsearch.train.recipe import Lora, load_recipe

RECIPE = {"trainer": "dpo", "model": "tiny", "data": ["data/1"], "to": "models/1"}
SHAPES = {
    "model.embed_tokens.weight": (100, 10),
    "model.layers.0.self_attn.q_proj.weight": (20, 10),
    "model.layers.0.mlp.down_proj.weight": (10, 40),
    "model.layers.0.input_layernorm.weight": (10,),
}
MODEL = {"hidden_size": 10, "num_hidden_layers": 1}
SIZES = [30, 50, 40, 80, 100, 60, 20, 20, 100]


def guessed(*overrides, speed=None, responses=2):
    args = ["args.per_device_train_batch_size=2", *overrides]
    return guess(load_recipe(RECIPE, args), SIZES, responses, SHAPES, MODEL, speed)


def test_steps_are_batches_of_all_processes_over_accumulated_ones():
    assert guessed().steps == math.ceil(9 / 2) * 3  # TRL trains 3 epochs
    assert guessed("args.gradient_accumulation_steps=2").steps == 3 * 3
    assert guessed("processes=2", "args.num_train_epochs=1").steps == 3
    assert guessed("args.max_steps=7").steps == 7


def test_a_pair_is_two_sequences():
    assert (guessed().tokens, guessed().longest, guessed().rows) == (1000, 100, 9)
    assert guessed(responses=1).tokens == 500


def test_time_is_told_only_where_throughput_is():
    assert guessed().seconds is None
    assert guessed(speed=100).seconds == pytest.approx(3 * 1000 / 100)


def test_memory_is_weights_gradients_moments_and_activations():
    memory = guessed().memory_gb
    assert guessed().parameters == guessed().trainable == 1000 + 200 + 400 + 10
    big = guess(load_recipe(RECIPE), [1000], 1, {"w": (10**6, 10**3)}, MODEL)
    assert big.memory_gb["weights"] == 4.0 == big.memory_gb["gradients"]
    assert big.memory_gb["adam"] == 8.0
    assert set(memory) == {"weights", "gradients", "adam", "activations"}


def test_adapters_train_r_times_in_plus_out_of_each_layer():
    assert lora_parameters(SHAPES, Lora(r=4)) == 4 * (20 + 10 + 10 + 40)
    assert lora_parameters(SHAPES, Lora(r=4, target_modules=("q_proj",))) == 4 * 30
    found = guessed("lora.r=4")
    assert (found.parameters, found.trainable) == (1610, 320)


def test_sharded_back_ends_share_the_weights():
    shapes = {"w": (10**6, 10**3)}
    recipe = load_recipe(RECIPE, ["accelerate=fsdp2", "processes=8"])
    assert guess(recipe, [10], 1, shapes, MODEL).memory_gb["weights"] == 0.5
    recipe = load_recipe(RECIPE, ["accelerate=ddp", "processes=8"])
    assert guess(recipe, [10], 1, shapes, MODEL).memory_gb["weights"] == 4.0


def test_shapes_are_read_from_the_headers(tmp_path):
    header = {"__metadata__": {}, "a": {"shape": [2, 3], "dtype": "F32", "data_offsets": [0, 24]}}
    text = json.dumps(header).encode()
    (tmp_path / "model.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + bytes(24))
    assert weight_shapes(tmp_path) == {"a": (2, 3)}
