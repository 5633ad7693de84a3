"""Learning to repeat tokens, without a trained model: embeddings told apart, losses of repeats."""

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

from recipes.tiny import copying  # noqa: E402
from recipes.tiny.settings import load  # noqa: E402
from recipes.tiny.train import first_weights  # noqa: E402


def test_only_the_rows_that_all_went_one_way_are_spread():
    torch.manual_seed(0)
    seen = 2 * torch.randn(10, 32)
    lost = torch.ones(90, 32) + 0.01 * torch.randn(90, 32)
    embeddings = torch.cat([seen, lost])
    before = embeddings.clone()
    copying.spread(embeddings)
    assert torch.equal(embeddings[:10], before[:10])
    moved = (embeddings[10:] - before[10:]).norm(dim=1)
    assert torch.allclose(moved, torch.full((90,), copying.OWN_NORM), atol=1e-4)
    own = torch.nn.functional.normalize(embeddings[10:] - before[10:], dim=1)
    assert (own @ own.T).fill_diagonal_(0).abs().max() < 0.9


class Repeats:
    """A stand-in for the model: sure that what stood `back` places before comes next."""

    class config:  # noqa: N801
        vocab_size = 50

    def __init__(self, back):
        self.back, self.model = back, self

    def __call__(self, input_ids):
        asked = torch.roll(input_ids, self.back - 1, dims=1)
        return type("Out", (), {"last_hidden_state": asked})()

    def lm_head(self, ids):
        return 20.0 * torch.nn.functional.one_hot(ids, 50)


def test_the_loss_is_of_the_repetition_but_its_first_token():
    length, gaps = 6, (5, 3)
    right = length + gaps[1]  # how far back the same token stood
    assert copying.repetition_loss(Repeats(right), length, gaps) < 1e-6
    assert copying.repetition_loss(Repeats(right - 1), length, gaps) > 5


def test_stages_only_grow_harder():
    assert list(copying.STAGES) == sorted(copying.STAGES, key=lambda stage: (stage[1], stage[0]))


def test_training_goes_on_from_what_copying_made(tmp_path):
    settings = load("smoke", build=tmp_path, webshop_pages=1)
    torch.save({"weight": torch.ones(1)}, tmp_path / "start.pt")
    assert torch.equal(first_weights(settings)["weight"], torch.ones(1))
