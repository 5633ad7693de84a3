"""The contract with the installed TRL, and what our overrides make of it."""

import dataclasses
import inspect
import math
from importlib import metadata
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
trl = pytest.importorskip("trl", reason="needs the train extra")

from packaging.version import Version  # noqa: E402
from trl.trainer.dpo_trainer import DataCollatorForPreference, DPOTrainer  # noqa: E402
from trl.trainer.sft_trainer import SFTTrainer  # noqa: E402

from agentsearch.errors import ConfigError  # noqa: E402
from agentsearch.train import trl_seam as seam  # noqa: E402
from agentsearch.train.checks import lengths, mean_one  # noqa: E402
from agentsearch.train.dpo import DPO  # noqa: E402
from agentsearch.train.health import Health  # noqa: E402
from agentsearch.train.losses import Pairs, preference_loss  # noqa: E402
from agentsearch.train.recipe import Lora, Sentinels  # noqa: E402
from agentsearch.train.sft import SFT  # noqa: E402
from agentsearch.train.training import lora_config  # noqa: E402
from tests.integration.tiny_random import save_tiny_random  # noqa: E402
from tests.trainable import Recorder, dataset  # noqa: E402

# peft asks transformers by a name that is deprecated since 5.23
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

# -- the installed version -------------------------------------------------------------


def test_the_version_is_the_one_the_seam_was_written_for():
    assert Version("1.16") <= Version(metadata.version("trl")) < Version("1.17")


@pytest.mark.parametrize(
    ("method", "parameters"),
    [
        (DPOTrainer._prepare_dataset, "self dataset processing_class args dataset_name"),
        (DPOTrainer._precompute_ref_logps, "self dataset name batch_size"),
        (DPOTrainer._compute_loss, "self model inputs return_outputs"),
        (SFTTrainer.compute_loss, "self model inputs return_outputs num_items_in_batch"),
        (DPOTrainer._get_train_sampler, "self train_dataset"),
    ],
)
def test_what_is_overridden_is_called_as_before(method, parameters):
    assert list(inspect.signature(method).parameters) == parameters.split()


def test_nothing_else_is_overridden():
    def own(cls):
        return {name for name, value in vars(cls).items() if inspect.isfunction(value)}

    inherited = {"_get_train_sampler"}
    assert {n for n in own(seam.Measured) if hasattr(SFTTrainer, n)} == inherited
    assert own(seam.WeightedSFTTrainer) == {"__init__", "compute_loss"}
    assert own(seam.StepDPOTrainer) == {
        *("__init__", "_prepare_dataset", "_precompute_ref_logps", "_compute_loss")
    }


def test_the_loss_is_divided_for_accumulation_by_the_trainer():
    assert DPOTrainer.loss_is_scaled_for_ga is False


PAIRS = [
    {"prompt_ids": [1, 2, 3], "chosen_ids": [4, 5], "rejected_ids": [6]},
    {"prompt_ids": [7, 8], "chosen_ids": [9], "rejected_ids": [10, 11]},
]


def whole(row):
    """With masks, log-probabilities and the rest."""
    extra = {"ref_chosen_logps": -1.0, "ref_rejected_logps": -2.0, "margin": 0.5, "weight": 2.0}
    for side in ("chosen", "rejected"):
        extra[f"{side}_mask"] = [1] * len(row[f"{side}_ids"])
        extra[f"{side}_logprobs"] = [-0.5] * len(row[f"{side}_ids"])
    return {**row, **extra}


def test_the_batch_has_trls_layout_and_names():
    theirs = DataCollatorForPreference(pad_token_id=0)(
        [{**r, "ref_chosen_logps": -1.0, "ref_rejected_logps": -2.0} for r in PAIRS]
    )
    ours = seam.PairCollator(0)([whole(row) for row in PAIRS])
    assert set(theirs) <= set(ours)
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    assert ours["input_ids"][:2, 3:].tolist() == [[4, 5], [0, 0]]  # chosen first


def test_the_mask_is_what_the_policy_wrote():
    row = {**whole(PAIRS[0]), "chosen_mask": [1, 0], "chosen_logprobs": [-0.5, 0.0]}
    batch = seam.PairCollator(0)([row])
    assert batch["completion_mask"].tolist() == [[0, 0, 0, 1, 0], [0, 0, 0, 1, 0]]
    assert batch["logprobs"].tolist() == [[0, 0, 0, -0.5, 0], [0, 0, 0, -0.5, 0]]


def test_labels_stand_on_what_the_policy_wrote():
    row = {"input_ids": [5, 1, 2, 7], "completion_mask": [0, 1, 1, 0], "weight": 1.0}
    batch = seam.SFTCollator(0)([{**row, "logprobs": [0.0, -1.0, -1.0, 0.0]}])
    assert batch["labels"].tolist() == [[-100, 1, 2, -100]]


@pytest.mark.parametrize(
    ("make", "name", "words"),
    [
        (seam.dpo_config, "learning_rte", "'learning_rate'"),
        (seam.dpo_config, "beta", "set dpo.beta"),
        (seam.dpo_config, "sync_ref_model", "leave it out"),
        (seam.dpo_config, "precompute_ref_log_probs", "leave it out"),
        (seam.sft_config, "packing", "leave it out"),
        (seam.sft_config, "dataset_kwargs", "leave it out"),
    ],
)
def test_arguments_without_effect_are_refused(make, name, words):
    with pytest.raises(ConfigError, match=words):
        make({"output_dir": "x", name: 1})


def test_what_trl_refuses_is_told(tmp_path):
    with pytest.raises(ConfigError, match="args: DPOConfig refuses"):
        seam.dpo_config({"output_dir": str(tmp_path), "save_strategy": "sometimes"})


def test_defaults_are_float32_whole_rows_and_visible_nan(tmp_path):
    config = seam.dpo_config({"output_dir": str(tmp_path)})
    assert (config.bf16, config.gradient_checkpointing, config.max_length) == (False, False, None)
    assert config.logging_nan_inf_filter is False and config.precompute_ref_log_probs


# -- the trainers ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_tiny_random(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def recorder(folder):
    return Recorder(folder)


def trainer(options, rows, recorder, tmp_path, lora=None, **args):
    from transformers import AutoModelForCausalLM

    table = mean_one(dataset(options.rows, rows), options.use_weights)
    model = AutoModelForCausalLM.from_pretrained(recorder.model.config._name_or_path)
    args = {"output_dir": str(tmp_path / "out"), "per_device_train_batch_size": 2, **args}
    return options.trainer(
        options.config(args),
        table,
        lengths(table),
        model=model,
        processing_class=recorder.tokenizer,
        peft_config=lora_config(lora),
        health=Health(Sentinels(), tmp_path / "metrics.jsonl"),
    )


@pytest.mark.parametrize("lora", [None, Lora(r=2)])
def test_no_reference_model_is_in_memory(recorder, tmp_path, lora):
    made = trainer(DPO(), [recorder.pair("red", "ball")], recorder, tmp_path, lora)
    assert made.ref_model is None
    held = [x for x in vars(made).values() if isinstance(x, torch.nn.Module)]
    assert {id(x) for x in held} == {id(made.model)}
    if lora:
        assert list(made.model.peft_config) == ["default"]  # no copy named "ref"


def test_rows_arrive_as_they_were_recorded(recorder, tmp_path):
    row = recorder.pair("red", "ball")
    batch = next(iter(trainer(DPO(), [row], recorder, tmp_path).get_train_dataloader()))
    size = len(row.prompt_ids)
    assert batch["input_ids"][0, :size].tolist() == list(row.prompt_ids)
    assert batch["input_ids"][0, size:].tolist() == list(row.chosen_ids)
    assert batch["input_ids"][1, size:].tolist() == list(row.rejected_ids)
    assert batch["ref_chosen_logps"].item() == pytest.approx(row.ref_chosen_logps)


def test_the_first_batch_holds_the_longest_rows():
    sizes = [3, 9, 4, 9, 5, 8]
    sampler = seam.LongestFirst(sizes, first=2, seed=0)
    first = list(sampler)
    assert first[:2] == [1, 3] and sorted(first) == list(range(6))
    assert list(sampler) == first
    sampler.set_epoch(1)
    assert list(sampler) != first and sorted(sampler) == list(range(6))
    assert list(seam.LongestFirst(sizes, 2, seed=1))[2:] != first[2:]


def loss_of(made, batch):
    inputs = {name: tensor.clone() for name, tensor in batch.items()}
    return made.compute_loss(made.model, inputs)


def test_before_the_first_step_the_loss_is_log_two_and_the_gap_nothing(recorder, tmp_path):
    rows = [recorder.pair("red", "ball"), recorder.pair("left", "open")]
    made = trainer(DPO(), rows, recorder, tmp_path)
    batch = next(iter(made.get_train_dataloader()))
    made.model.train()
    assert loss_of(made, batch).item() == pytest.approx(math.log(2), abs=1e-5)
    measures = {name: values[0] for name, values in made._metrics["train"].items()}
    assert measures["logprob_gap/mean"] < 1e-5
    assert measures["rewards/margins"] == pytest.approx(0, abs=1e-5)
    assert measures["no_end_share"] == 0
    assert measures["num_tokens"] == batch["attention_mask"].sum()


def test_the_loss_is_ours_with_weights_and_margins(recorder, tmp_path):
    rows = [
        recorder.pair("red", "ball", weight=1.0, margin=0.2),
        recorder.pair("left", "open", weight=3.0, margin=0.6),
    ]
    made = trainer(DPO(use_margins=True, nll=0.5), rows, recorder, tmp_path)
    got = loss_of(made, seam.PairCollator(0)(list(made.train_dataset))).item()
    expected = 0.0
    for row, weight in zip(rows, (0.5, 1.5), strict=True):
        numbers = (row.ref_chosen_logps, row.ref_rejected_logps) * 2
        tokens = (len(row.chosen_ids), len(row.rejected_ids))
        pairs = Pairs(*(torch.tensor([float(n)]) for n in (*numbers, *tokens)))
        each = preference_loss(pairs, beta=0.1, margins=torch.tensor([row.margin])).item()
        expected += weight * (each - 0.5 * row.ref_chosen_logps / tokens[0]) / 2
    assert got == pytest.approx(expected, rel=1e-4)


def test_sft_loss_is_the_weighted_nll_of_the_policys_tokens(recorder, tmp_path):
    rows = [
        recorder.success("red", "ball", weight=1.0),
        recorder.success("left", "open", weight=3.0),
    ]
    made = trainer(SFT(), rows, recorder, tmp_path)
    got = loss_of(made, seam.SFTCollator(0)(list(made.train_dataset))).item()
    tokens = sum(sum(row.completion_mask) for row in rows)
    expected = -(0.5 * sum(rows[0].logprobs) + 1.5 * sum(rows[1].logprobs)) / tokens
    assert got == pytest.approx(expected, rel=1e-4)


def episode(recorder):
    """A success of two turns, with an observation between that the policy did not write."""
    start, between = recorder.prompt("say red not ball"), recorder.prompt("again")
    turns = [recorder.answer(" red"), recorder.answer(" up")]
    ids, mask, logprobs, places = list(start), [0] * len(start), [0.0] * len(start), None
    places = [-1] * len(start)
    for number, turn in enumerate(turns):
        if number:
            ids += between
            mask += [0] * len(between)
            logprobs += [0.0] * len(between)
            places += [-1] * len(between)
        logprobs += recorder.logprobs(ids, turn)
        ids += turn
        mask += [1] * len(turn)
        places += [number] * len(turn)
    return {
        "input_ids": tuple(ids),
        "completion_mask": tuple(mask),
        "logprobs": tuple(logprobs),
        "turn_ids": tuple(places),
        "completions": (" red", " up"),
    }


def gradients(made, batch):
    """Of the loss, by the hidden state that each next token is predicted from: `[B, T]`."""
    states = []
    hook = made.model.base_model.register_forward_hook(
        lambda module, given, output: states.append(output.last_hidden_state)
    )
    loss = loss_of(made, batch)
    hook.remove()
    [gradient] = torch.autograd.grad(loss, states)
    return gradient.abs().sum(-1)


def test_no_gradient_comes_from_what_the_environment_wrote(recorder, tmp_path):
    row = recorder.success("red", "ball", **episode(recorder))
    made = trainer(SFT(), [row], recorder, tmp_path)
    [gradient] = gradients(made, seam.SFTCollator(0)(list(made.train_dataset)))
    trained = torch.tensor([*row.completion_mask[1:], 0]) == 1
    assert (gradient[~trained] == 0).all()
    assert (gradient[trained] > 0).all()
    assert 0 < trained.sum() < len(trained)


def test_no_gradient_comes_from_the_environment_in_pairs_of_paths(recorder, tmp_path):
    path, pair = episode(recorder), recorder.pair("red", "ball")
    start = len(pair.prompt_ids)
    row = dataclasses.replace(
        pair,
        chosen_ids=path["input_ids"][start:],
        chosen_mask=path["completion_mask"][start:],
        chosen_turn_ids=path["turn_ids"][start:],
        chosen_logprobs=path["logprobs"][start:],
        ref_chosen_logps=sum(path["logprobs"]),
        chosen_texts=path["completions"],
        kind="trajectory",
    )
    made = trainer(DPO(kinds=("trajectory",)), [row], recorder, tmp_path)
    batch = seam.PairCollator(0)(list(made.train_dataset))
    gradient = gradients(made, batch)
    trained = torch.nn.functional.pad(batch["completion_mask"][:, 1:], (0, 1)) == 1
    assert (gradient[~trained] == 0).all()
    assert (gradient[trained] > 0).all()
    assert (~trained[0, start:]).sum() > 0


def test_rows_of_another_model_are_refused_before_a_step(recorder, tmp_path):
    row = recorder.success("red", "ball")
    shifted = tuple(
        each - 0.4 * on for each, on in zip(row.logprobs, row.completion_mask, strict=True)
    )
    made = trainer(SFT(), [dataclasses.replace(row, logprobs=shifted)], recorder, tmp_path)
    with pytest.raises(ConfigError, match=r"by 0\.4 nats a token"):
        made.train()
    assert made.state.global_step == 0


def test_the_seam_is_the_only_file_that_knows_trl():
    files = Path(seam.__file__).parent.glob("*.py")
    assert [path.name for path in files if "from trl" in path.read_text()] == ["trl_seam.py"]
