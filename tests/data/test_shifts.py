import pytest
import torch

from heredity.data.digits import all_digits
from heredity.data.shifts import KINDS, SEVERITIES, Shift, apply_shifts, corrupt, shift_of


@pytest.fixture(scope="module")
def x():
    return all_digits()[0][:200]


def distance(a, b):
    return float((a - b).abs().mean())


def test_every_kind_has_severities():
    assert set(KINDS) == set(SEVERITIES) and len(KINDS) == 17


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_stays_in_range_changes_something_and_leaves_the_input(x, kind):
    before = x.clone()
    for severity in (1, 5):
        y = corrupt(x, kind, severity, seed=1)
        assert y.shape == x.shape and y.dtype == x.dtype and y.min() >= 0 and y.max() <= 1
        assert distance(x, y) > 0
    assert torch.equal(x, before)


@pytest.mark.parametrize("kind", sorted(set(KINDS) - {"rotate90"}))
def test_severity_moves_images_further(x, kind):
    far = [distance(x, corrupt(x, kind, severity, seed=1)) for severity in (1, 2, 3, 4, 5)]
    assert far == sorted(far) and far[-1] > far[0]


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_strength_zero_is_the_identity(x, kind):
    torch.testing.assert_close(apply_shifts(x, (Shift(kind, 0.0),), 5), x, atol=1e-6, rtol=0)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_same_seed_same_bits_and_the_global_generator_is_left_alone(x, kind):
    before = torch.random.get_rng_state()
    assert torch.equal(corrupt(x, kind, 3, seed=9), corrupt(x, kind, 3, seed=9))
    assert torch.equal(torch.random.get_rng_state(), before)


@pytest.mark.parametrize("kind", ["gaussian", "shot", "impulse", "occlusion"])
def test_seed_matters_where_chance_does(x, kind):
    assert not torch.equal(corrupt(x, kind, 3, seed=1), corrupt(x, kind, 3, seed=2))


def test_order_matters_and_composition_is_application_in_turn(x):
    dark, veil = Shift("darken", 0.65), Shift("fog", 0.6)
    both = apply_shifts(x, (dark, veil))
    # ((1 − .65) x)(1 − .6) + .6 · 2/3 = .14 x + .4
    torch.testing.assert_close(both, 0.14 * x + 0.4)
    # (.4 x + .4) · .35 = .14 x + .14
    torch.testing.assert_close(apply_shifts(x, (veil, dark)), 0.14 * x + 0.14)
    assert torch.equal(both, veil(dark(x)))


def test_two_noises_in_one_tuple_are_independent():
    grey = torch.full((50, 1, 8, 8), 0.5)
    twice = apply_shifts(grey, (Shift("gaussian", 0.1), Shift("gaussian", 0.1))) - 0.5
    # Independent: std .1·√2 = .141; the same draw twice would give .2. 3,200 values: standard error .0018.
    assert abs(float(twice.std()) - 0.1414) < 0.01


def test_noise_strengths_are_what_they_say():
    grey = torch.full((100, 1, 16, 16), 0.5)
    assert abs(float((Shift("gaussian", 0.1)(grey) - 0.5).std()) - 0.1) < 0.002
    # Half light is 10 photons of .05 each: always a whole number of photons, clipped at full light (20), and
    # Poisson with mean 10 and variance 10 (25,600 draws: standard errors .02 and .09; clipping moves both by < .02).
    counts = Shift("shot", 0.05)(grey) / 0.05
    assert torch.equal(counts.round(), counts.round().clamp(0, 20)) and (counts - counts.round()).abs().max() < 1e-4
    assert abs(float(counts.mean()) - 10) < 0.1 and abs(float(counts.var()) - 10) < 0.4
    pepper = Shift("impulse", 0.2)(grey)
    assert abs(float((pepper == 0).double().mean()) - 0.1) < 0.01
    assert abs(float((pepper == 1).double().mean()) - 0.1) < 0.01


def test_geometry_agrees_with_exact_turns_and_moves(x):
    torch.testing.assert_close(Shift("rotate", 90.0)(x), Shift("rotate90", 1.0)(x), atol=1e-5, rtol=0)
    assert torch.equal(Shift("rotate90", 1.0)(x)[..., 0, :], x[..., :, -1])  # counter-clockwise: right column on top
    moved = Shift("shift", 0.25)(x)  # .25 half widths of 8 pixels = 1 pixel to the left
    torch.testing.assert_close(moved[..., :-1], x[..., 1:], atol=1e-6, rtol=0)
    assert moved[..., -1].abs().max() < 1e-6


def test_blur_of_one_pixel_is_the_mean_of_three():
    point = torch.zeros(1, 1, 7, 7)
    point[..., 3, 3] = 0.9
    row = Shift("motion_blur", 1.0)(point)
    torch.testing.assert_close(row[0, 0, 3], torch.tensor([0, 0, 0.3, 0.3, 0.3, 0, 0]))
    box = Shift("box_blur", 1.0)(point)
    torch.testing.assert_close(box[0, 0, 2:5, 2:5], torch.full((3, 3), 0.1))
    assert abs(float(box.sum()) - 0.9) < 1e-6


def test_stripes_and_occlusion_cover_their_share():
    grey = torch.full((6, 1, 16, 16), 0.5)
    striped = Shift("stripes", 1.0)(grey)[0, 0, :, 0]
    assert torch.nonzero(striped == 1).flatten().tolist() == [3, 7, 11, 15]
    assert Shift("stripes", 0.5)(grey)[0, 0, 3, 0] == 0.75
    hidden = Shift("occlusion", 0.125)(grey)
    assert ((hidden == 0).sum(dim=(1, 2, 3)) == 2 * 16).all()  # an eighth of 16 rows
    tops = Shift("occlusion", 0.125)(torch.ones(100, 1, 16, 16))[:, 0, :, 0].argmin(1)
    assert len(set(tops.tolist())) > 10 and tops.max() <= 14  # anywhere among 15 places


def test_bad_input_is_named(x):
    with pytest.raises(ValueError, match="unknown shift 'fogg'"):
        Shift("fogg", 1.0)
    with pytest.raises(ValueError, match="finite"):
        Shift("fog", float("nan"))
    with pytest.raises(ValueError, match="severity"):
        shift_of("fog", 6)
    with pytest.raises(ValueError, match=r"\[B, C, H, W\]"):
        corrupt(x[0], "fog", 1)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        corrupt(x * 2, "fog", 1)
    with pytest.raises(ValueError, match="quarter turns"):
        Shift("rotate90", 0.5)(x)
