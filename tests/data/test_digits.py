import pytest
import torch

from heredity.data.digits import all_digits, load_digits, stratified_parts


def test_split_is_disjoint_complete_and_stratified():
    # Number the images by a unique value in an unused way: compare the pixel rows themselves.
    x, y = all_digits()
    split = load_digits(train=0.75, seed=3)
    assert len(split.train_y) == round(0.75 * 1797) and len(split.test_y) == 1797 - len(split.train_y)
    rows = {tuple(row) for row in x.flatten(1).tolist()}
    train = {tuple(row) for row in split.train_x.flatten(1).tolist()}
    test = {tuple(row) for row in split.test_x.flatten(1).tolist()}
    assert not train & test and train | test == rows  # scikit-learn's digits hold no two equal images
    whole, part = torch.bincount(y).double(), torch.bincount(split.train_y).double()
    assert (part - whole * len(split.train_y) / 1797).abs().max() <= 1  # each class has its share, up to one image


def test_parts_are_disjoint_for_every_seed():
    _, y = all_digits()
    for seed in range(5):
        a, b, c = stratified_parts(y, (900, 200, 697), seed)
        assert torch.equal(torch.cat([a, b, c]).sort().values, torch.arange(1797))
        assert (
            torch.bincount(y[b]).double() - torch.bincount(y).double() * 200 / 1797
        ).abs().max() < 2  # an inner part has two ends


def test_labels_stay_with_their_images():
    x, y = all_digits()
    label = {tuple(row): int(v) for row, v in zip(x.flatten(1).tolist(), y, strict=True)}
    split = load_digits(train=300, seed=1)
    rows = split.train_x.flatten(1).tolist()
    assert [label[tuple(row)] for row in rows] == split.train_y.tolist()


def test_seed_decides_the_split_and_the_global_generator_is_left_alone():
    before = torch.random.get_rng_state()
    a, b, c = load_digits(seed=0), load_digits(seed=0), load_digits(seed=1)
    assert torch.equal(a.train_x, b.train_x) and torch.equal(a.test_y, b.test_y)
    assert not torch.equal(a.train_x, c.train_x)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_sizes_scales_and_classes():
    signed = load_digits(size=16, train=100, scale="signed", by_class=(3, 7))
    assert signed.train_x.shape == (100, 1, 16, 16) and signed.train_x.dtype == torch.float32
    assert -1 <= signed.train_x.min() < -0.9 and 0.9 < signed.train_x.max() <= 1
    assert set(signed.train_y.tolist()) | set(signed.test_y.tolist()) == {3, 7}


def test_changing_a_returned_tensor_does_not_change_the_next():
    x, _ = all_digits()
    x.zero_()
    assert all_digits()[0].sum() > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 12}, "size"),
        ({"scale": "bytes"}, "scale"),
        ({"train": 1797}, "empty set"),
        ({"train": 0.0}, "empty set"),
        ({"by_class": (10,)}, "by_class"),
        ({"by_class": ()}, "by_class"),
    ],
)
def test_bad_arguments_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        load_digits(**options)
