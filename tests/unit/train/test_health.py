"""What is measured, on numbers small enough to check by hand, and what stops a training."""

import json
import math
from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("transformers", reason="needs the train extra")

from agentsearch.errors import ConfigError  # noqa: E402
from agentsearch.train.health import (  # noqa: E402
    Health,
    TrainingStopped,
    logprob_gap,
    pair_measures,
    token_measures,
)
from agentsearch.train.losses import Pairs  # noqa: E402
from agentsearch.train.recipe import Sentinels  # noqa: E402

END = 9
IDS = torch.tensor([[5, 1, 9, 5, 2, 9], [5, 1, 3, 0, 0, 0]])  # the second is cut off
MASK = torch.tensor([[0, 1, 1, 0, 1, 1], [0, 1, 1, 0, 0, 0]])


def test_measures_are_of_trained_tokens_alone():
    recorded = torch.where(MASK != 0, -1.0, -50.0)
    logps = torch.where(MASK != 0, -1.2, 0.0)
    entropy = torch.where(MASK != 0, 0.5, 99.0)
    found = {
        name: value.item()
        for name, value in token_measures(logps, recorded, entropy, IDS, MASK, END).items()
    }
    assert found["kl/k1"] == pytest.approx(0.2)
    assert found["kl/k3"] == pytest.approx(math.exp(-0.2) + 0.2 - 1)
    assert found["entropy"] == 0.5
    assert found["response_tokens"] == 3
    assert found["no_end_share"] == pytest.approx(1 / 3)  # of three turns


def test_pairs_are_measured_as_trl_names_it():
    numbers = ([-2.0, -2.0], [-3.0, -1.0], [-2.5, -1.0], [-2.4, -1.0], [1, 1], [1, 1])
    pairs = Pairs(*(torch.tensor(each) for each in numbers))
    found = {name: value.item() for name, value in pair_measures(pairs, 0.1).items()}
    assert found["rewards/chosen"] == pytest.approx((0.05 - 0.1) / 2)
    assert found["rewards/rejected"] == pytest.approx(-0.03)
    assert found["rewards/margins"] == pytest.approx((0.11 - 0.1) / 2)
    assert found["rewards/accuracies"] == 0.5
    assert (found["logps/chosen"], found["logps/rejected"]) == (-2.0, -2.0)
    assert found["chosen_drop"] == pytest.approx((-0.5 + 1) / 2)


def test_the_gap_is_summed_over_trained_tokens():
    logps = torch.tensor([[0.0, -1.0, -3.0]])
    recorded = torch.tensor([[-7.0, -1.5, -2.8]])
    total, largest, tokens = logprob_gap(logps, recorded, torch.tensor([[0, 1, 1]])).tolist()
    assert (total, largest, tokens) == (pytest.approx(0.7), pytest.approx(0.5), 2)


def health(tmp_path, **limits):
    return Health(Sentinels(**limits), tmp_path / "metrics.jsonl")


def test_a_model_that_was_not_sampled_is_refused(tmp_path):
    judge = health(tmp_path, max_logprob_gap=0.1)
    found = judge.judge_gap(0.2, 0.05, 10)
    assert found == {
        "logprob_gap/mean": pytest.approx(0.02),
        "logprob_gap/max_ratio": pytest.approx(math.exp(0.05)),
    }
    with pytest.raises(ConfigError, match=r"by 0.26 nats a token in the mean of 20 tokens"):
        judge.judge_gap(5.0, 2.0, 10)
    assert health(tmp_path, max_logprob_gap=None).judge_gap(50.0, 9.0, 10)["logprob_gap/mean"] == 5


def test_a_gap_that_is_no_number_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="nan"):
        health(tmp_path).judge_gap(math.nan, 0.0, 10)


@pytest.mark.parametrize(
    ("measures", "words"),
    [
        ({"loss": math.nan}, "Step 7: loss is nan"),
        ({"grad_norm": math.inf}, "Step 7: grad_norm is inf"),
        ({"chosen_drop": 2.5}, "2.5 nats less likely.*max_chosen_drop=2"),
        ({"kl/k1": 1.5}, "1.5 nats a token away.*max_kl=1"),
    ],
)
def test_sentinels_stop_with_a_sentence(tmp_path, measures, words):
    judge = health(tmp_path, max_chosen_drop=2.0, max_kl=1.0)
    judge.judge(7, {"loss": 0.5, "chosen_drop": 2.0, "kl/k1": 1.0})
    with pytest.raises(TrainingStopped, match=words) as error:
        judge.judge(7, measures)
    assert "\n" not in str(error.value)


def test_null_switches_a_sentinel_off_but_never_that_for_numbers(tmp_path):
    judge = health(tmp_path, max_chosen_drop=None, max_kl=None)
    judge.judge(1, {"chosen_drop": 1e6, "kl/k1": 1e6})
    with pytest.raises(TrainingStopped):
        judge.judge(1, {"chosen_drop": math.inf})


def logged(judge, step, **logs):
    state = SimpleNamespace(global_step=step, max_steps=20, is_world_process_zero=True)
    judge.on_log(None, state, None, logs=logs)


def test_measures_are_written_down_and_shown(tmp_path, capsys):
    judge = health(tmp_path)
    logged(judge, 1, loss=0.5, num_tokens=10.0, learning_rate=1e-3)
    logged(judge, 2, loss=0.25, num_tokens=30.0)
    logged(judge, 2, train_runtime=3.0)  # TRL's own summary
    lines = [json.loads(line) for line in judge.file.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    assert lines[0]["learning_rate"] == 1e-3
    assert lines[1]["tokens_per_second"] > 0
    assert capsys.readouterr().out.splitlines()[0] == "step 1/20  loss 0.5"


def test_what_stops_a_training_is_written_down_first(tmp_path):
    judge = health(tmp_path, max_kl=1.0)
    with pytest.raises(TrainingStopped):
        logged(judge, 3, loss=0.5, **{"kl/k1": 4.0})
    assert json.loads(judge.file.read_text())["kl/k1"] == 4.0


def test_lines_of_steps_that_are_taken_again_are_dropped(tmp_path):
    judge = health(tmp_path)
    judge.file.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"st')
    state = SimpleNamespace(global_step=2, is_world_process_zero=True)
    judge.on_train_begin(None, state, None)
    assert judge.file.read_text() == '{"step": 1}\n{"step": 2}\n'
