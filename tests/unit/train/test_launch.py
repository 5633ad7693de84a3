"""What is started for a training."""

import pytest

from agentsearch.errors import ConfigError
from agentsearch.train import launch
from agentsearch.train.recipe import load_recipe

RECIPE = {"trainer": "dpo", "model": "tiny", "data": ["data/1"], "to": "models/1"}
GIVEN = ["dpo", "my.yaml", "seed=1"]


def started(**changes):
    command, env = launch.command(load_recipe({**RECIPE, **changes}), GIVEN)
    assert command[-len(GIVEN) :] == GIVEN
    assert command[-len(GIVEN) - 2 : -len(GIVEN)] == ["-m", "agentsearch.train"]
    assert (env["OMP_NUM_THREADS"], env["HF_HUB_DISABLE_TELEMETRY"]) == ("1", "1")
    return command[1 : -len(GIVEN) - 2], env


def test_one_process_needs_no_launcher():
    command, env = started()
    assert command == [] and "ACCELERATE_USE_CPU" not in env  # a GPU is used where there is one
    assert started(accelerate="cpu")[1]["ACCELERATE_USE_CPU"] == "true"


def test_several_processes_on_the_cpu_are_started_by_torchrun():
    """Accelerate's own launcher silently starts one."""
    command, env = started(processes=2, accelerate="cpu")
    assert command[:2] == ["-m", "torch.distributed.run"]
    assert command[command.index("--nproc_per_node") + 1] == "2"
    assert env["ACCELERATE_USE_CPU"] == "true"
    assert started(processes=2)[0] == command


@pytest.mark.parametrize("name", ["one_gpu", "ddp", "fsdp2", "zero3"])
def test_gpus_are_used_by_accelerate(name):
    command, env = started(processes=4, accelerate=name)
    assert command[:2] == ["-m", "accelerate.commands.launch"]
    assert command[command.index("--config_file") + 1].endswith(f"accelerate/{name}.yaml")
    assert command[command.index("--num_processes") + 1] == "4"
    assert "ACCELERATE_USE_CPU" not in env


def test_a_configuration_of_ones_own_is_taken_by_its_path(tmp_path):
    (tmp_path / "mine.yaml").write_text("distributed_type: MULTI_GPU\n")
    command, _ = started(accelerate=str(tmp_path / "mine.yaml"))
    assert str(tmp_path / "mine.yaml") in command


def test_an_unknown_back_end_is_named():
    with pytest.raises(ConfigError, match="accelerate=fsdp3.*'fsdp2'"):
        started(accelerate="fsdp3")
