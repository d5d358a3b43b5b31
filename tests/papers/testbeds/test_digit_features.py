import pytest
import torch

from heredity.data.digits import all_digits
from heredity.errors import EvaluationFailed
from heredity.lab import Lab
from heredity.papers.testbeds.digit_features import (
    DigitFeatures,
    DigitJudge,
    HeldOutAccuracy,
    accuracy,
    digit_features,
    train_digit_cnn,
)


@pytest.mark.slow
def test_the_classifier_is_right_on_ninety_seven_percent_of_what_it_has_not_seen(tmp_path):
    with Lab(tmp_path / "lab") as lab:
        model = lab.derive(DigitFeatures(), seed=0)
        assert model.notes["accuracy"] >= 0.97
        assert lab.measure(HeldOutAccuracy(), model)["accuracy"] == model.notes["accuracy"]
        module = model.load()
        own = digit_features(0)
        assert all(torch.equal(t, own.state_dict()[name]) for name, t in module.state_dict().items())
    images, _ = all_digits(scale="signed")
    assert module.features(images[:5]).shape == (5, 64)
    judge = DigitJudge(module)
    real, half = judge(images), judge(images[::2])
    # All digits are at no distance from all digits, half of them near, noise far.
    noise = judge(torch.rand(900, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    assert real["fid"] < 1e-4 < half["fid"] < 3
    assert noise["fid"] > 100
    assert real["is"] > 9 > noise["is"]


def test_training_repeats_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    a, b = train_digit_cnn(3, epochs=1), train_digit_cnn(3, epochs=1)
    assert all(torch.equal(p, q) for p, q in zip(a.parameters(), b.parameters(), strict=True))
    assert torch.equal(torch.get_rng_state(), state)
    assert accuracy(a, 3) > 0.3


def test_images_that_are_not_finite_cannot_be_judged():
    judge = DigitJudge(train_digit_cnn(3, epochs=1))
    with pytest.raises(EvaluationFailed, match="not finite"):
        judge(torch.full((3, 1, 8, 8), float("nan")))
