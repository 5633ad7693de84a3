"""Recipes of trainings: every mistake is one sentence that names the key."""

import json

import pytest

pytest.importorskip("accelerate", reason="needs the train extra")

from agentsearch.config import data_folder, read_yaml, recipe_names  # noqa: E402
from agentsearch.errors import AgentSearchError  # noqa: E402
from agentsearch.train.dpo import DPO  # noqa: E402
from agentsearch.train.recipe import PROFILE_KEYS, Lora, load_recipe  # noqa: E402
from agentsearch.train.sft import SFT  # noqa: E402

RECIPE = {"trainer": "dpo", "model": "tiny", "data": ["data/1"], "to": "models/1"}
HOME = data_folder("agentsearch", "recipes")


def loaded(*overrides, **changes):
    return load_recipe({**RECIPE, **changes}, overrides)


def refused(*overrides, **changes):
    """The message, which has to be short and on one line."""
    with pytest.raises(AgentSearchError) as error:
        loaded(*overrides, **changes)
    text = str(error.value)
    assert "\n" not in text and len(text) < 400, text
    return text


def test_a_trainers_options_stand_under_its_name():
    assert loaded(dpo={"beta": 0.3}).options == DPO(beta=0.3)
    assert loaded("dpo.loss=ipo").options == DPO(loss="ipo")
    assert loaded(trainer="sft").options == SFT()


def test_a_recipe_written_out_is_read_in_as_the_same(tmp_path):
    recipe = loaded("lora.r=4", "args.max_steps=3", "dpo.kinds=[step,trajectory]")
    assert recipe.lora == Lora(r=4)
    (tmp_path / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    assert load_recipe(tmp_path / "recipe.json") == recipe


@pytest.mark.parametrize(
    ("overrides", "changes", "words"),
    [
        (["trainer=ppo"], {}, ["'ppo'", "dpo, sft"]),
        (["dpo.betta=1"], {}, ["dpo.betta", "'beta'"]),
        (["dpo.beta=0"], {}, ["dpo.beta=0", "above 0"]),
        (["dpo.loss=ipo", "dpo.label_smoothing=0.1"], {}, ["label_smoothing", "ipo"]),
        (["dpo.loss=tanh"], {}, ["dpo.loss", "'tanh'"]),
        (["trainer=sft", "dpo.beta=0.1"], {}, ["dpo: unknown key"]),
        (["modle=tiny"], {}, ["modle", "'model'"]),
        (["data=[]"], {}, ["data: names no folder"]),
        (["processes=0"], {}, ["processes=0", "at least 1"]),
        (["lora.r=0"], {}, ["lora.r=0"]),
        (["limits.max_kll=1"], {}, ["max_kll"]),
        (["args.output_dir=x"], {}, ["args.output_dir", "set to instead"]),
        (["args.seed=1"], {}, ["args.seed", "set seed instead"]),
        (["profile=one_gppu"], {}, ["profile=one_gppu", "'one_gpu'"]),
        ([], {"trainer": None}, ["trainer: is required"]),
    ],
)
def test_mistakes_are_named(overrides, changes, words):
    text = refused(*overrides, **changes)
    for word in words:
        assert word in text


def test_a_profile_lies_over_the_recipe_and_overrides_over_the_profile():
    args = {"max_steps": 900, "learning_rate": 1e-4}
    recipe = loaded("profile=smoke_cpu", "args.max_steps=7", args=args)
    assert recipe.args["max_steps"] == 7
    assert recipe.args["per_device_train_batch_size"] == 2
    assert recipe.args["learning_rate"] == 1e-4
    assert (recipe.accelerate, recipe.profile) == ("cpu", "smoke_cpu")


@pytest.mark.parametrize("name", ["smoke_cpu", "one_gpu", "8xh100"])
def test_profiles_set_sizes_and_back_ends_alone(name):
    over = load_recipe({**RECIPE, "profile": name})
    assert over.options == DPO() and over.model == "tiny" and over.data == ("data/1",)
    assert set(read_yaml(HOME / "profiles" / f"{name}.yaml")) <= set(PROFILE_KEYS)


def test_a_profile_that_sets_more_is_refused(tmp_path):
    (tmp_path / "mine.yaml").write_text("trainer: sft\n")
    assert "sets trainer" in refused(f"profile={tmp_path / 'mine.yaml'}")


@pytest.mark.parametrize(
    ("name", "kind", "processes"),
    [
        ("cpu", "NO", 1),
        ("one_gpu", "NO", 1),
        ("ddp", "MULTI_GPU", 8),
        ("fsdp2", "FSDP", 8),
        ("zero3", "DEEPSPEED", 8),
    ],
)
def test_accelerate_reads_our_configurations(name, kind, processes):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(HOME / "accelerate" / f"{name}.yaml"))
    assert config.distributed_type == kind and config.num_processes == processes
    if name == "fsdp2":
        assert config.fsdp_config["fsdp_version"] == 2
        assert config.fsdp_config["fsdp_state_dict_type"] == "FULL_STATE_DICT"
    if name == "zero3":
        assert config.deepspeed_config["zero_stage"] == 3


def test_profiles_and_back_ends_are_no_recipes_of_searches():
    assert not [n for n in recipe_names() if n.split("/")[0] in ("profiles", "accelerate")]
