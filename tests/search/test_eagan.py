import numpy as np
import pytest
import torch

from heredity.errors import EvaluationFailed
from heredity.search.eagan import BETAS, EAGAN, Schedule, Scored, judge_loss, sample_images, seeded
from heredity.search.gan_cells import DiscriminatorSupernet, GeneratorSupernet
from heredity.search.gan_spaces import HAND_MADE, DSpace, GSpace
from heredity.search.pareto import cars_select

SPACE = GSpace(3)


def generators(channels=4, base=2, cells=3):
    return seeded(0, lambda: GeneratorSupernet(6, channels, base, cells, 1))


def discriminators(cells=3):
    return seeded(1, lambda: DiscriminatorSupernet(4, cells, 1))


def by_brightness(images):
    """A judge that wants images of mean ½."""
    gap = float((images.mean() - 0.5).abs())
    return {"is": 1 / (1 + gap), "fid": gap}


def search(seed=3, **options):
    settings = {
        "population": 4,
        "schedule": Schedule(4, 4, 2, 6, 6, 20, 1e-3, 1e-3, 1e-3, n_critic=2),
        "seed": seed,
    } | options
    images = torch.rand(30, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    return EAGAN(
        images,
        settings.pop("evaluator", by_brightness),
        generators(cells=2),
        discriminators(2),
        GSpace(2),
        DSpace(2),
        **settings,
    )


@pytest.mark.parametrize("seed", range(6))
def test_a_generator_alone_makes_the_same_images_bit_by_bit(seed):
    net, rng = generators(), np.random.default_rng(seed)
    genotype = SPACE.sample(rng)
    net(torch.randn(5, 6, generator=torch.Generator().manual_seed(1)), genotype)  # some statistics
    net.eval()
    z = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    images = net(z, genotype)
    assert images.shape == (3, 1, 16, 16) and images.abs().max() <= 1
    assert torch.equal(images, net.extract(genotype)(z))


@pytest.mark.parametrize("seed", range(6))
def test_a_discriminator_alone_scores_the_same_bit_by_bit(seed):
    net = discriminators().eval()
    genotype = DSpace(3).sample(np.random.default_rng(seed))
    x = torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(2))
    assert net(x, genotype).shape == (3,)
    assert torch.equal(net(x, genotype), net.extract(genotype)(x))


def test_the_hand_made_discriminator_is_one_of_the_space():
    scores = discriminators()(torch.zeros(2, 1, 16, 16), HAND_MADE)
    assert torch.isfinite(scores).all()


def test_a_skip_and_nothing_else_costs_no_parameters():
    small, large = ((1, 1, 1, 0, 0, 0, 1),) * 3, ((1, 1, 3, 0, 0, 0, 1),) * 3
    net = generators()
    # A 3 × 3 convolution of 4 channels in each of 3 cells: 3 · (4 · 4 · 9 + 4).
    assert net.size(large) - net.size(small) == 3 * 148
    assert net.size(small) == sum(p.numel() for p in net.extract(small).parameters())
    judge = discriminators()
    assert judge.size(HAND_MADE) == sum(p.numel() for p in judge.extract(HAND_MADE).parameters())


def test_sampling_measures_the_normalisation_of_the_architecture_alone():
    net, rng = generators(), np.random.default_rng(0)
    a, b = SPACE.sample(rng), SPACE.sample(rng)
    first = sample_images(net, 10, torch.Generator().manual_seed(0), a)
    sample_images(net, 10, torch.Generator().manual_seed(5), b)
    assert net.training
    assert torch.equal(sample_images(net, 10, torch.Generator().manual_seed(0), a), first)
    assert torch.equal(sample_images(net.extract(a), 10, torch.Generator().manual_seed(0)), first)


def test_hinge_loss():
    # Real scores 2 and 0 cost 0 and 1, made ones −3 and ½ cost 0 and 1.5: ½ + ¾.
    assert judge_loss(torch.tensor([2.0, 0.0, -3.0, 0.5])).item() == pytest.approx(1.25)


def test_the_reversed_objective_saves_the_large():
    rng = np.random.default_rng(0)
    assert list(cars_select([3, 2, 1], [[0, 0, 0]], 1, rng)) == [0]
    assert set(cars_select([3, 2, 1], [[0, 0, 0]], 2, rng)) == {0, 1}
    first = {int(cars_select([3, 2, 1], [[1, 2, 3]], 1, np.random.default_rng(s))[0]) for s in range(40)}
    assert first == {0, 1, 2}


def test_a_bad_member_is_not_kept_for_being_bad():
    # The second is worse in score and distance and as large: only a reversed distance would keep it.
    ea = search()
    scored = [Scored(((0,),), 3.0, 1.0, 10), Scored(((1,),), 2.0, 9.0, 10), Scored(((2,),), -np.inf, np.inf, 1)]
    assert ea._kept(scored, 1) == [0] and ea._kept(scored, 2) == [0, 1]
    with pytest.raises(EvaluationFailed, match="none of 1"):
        ea._kept(scored[2:], 1)


def test_stage_one_gives_a_population_by_distance_and_repeats_exactly():
    found, again = search().search_generator(), search().search_generator()
    assert found == again and len(found) == 4
    assert [one.fid for one in found] == sorted(one.fid for one in found)
    assert all(GSpace(2).valid(one.genotype) for one in found) and len({one.genotype for one in found}) == 4
    assert all(one.size == generators(cells=2).size(one.genotype) for one in found)
    assert found != search(seed=4).search_generator()


def test_random_search_judges_as_many():
    # 4 members and 2 rounds of 4 children.
    assert len(search(evolve=False).search_generator()) == 12
    assert len(search(evolve=False).search_discriminator(GSpace(2).sample(np.random.default_rng(0)))) == 4


def test_stage_two_trains_one_members_generator_and_leaves_the_others_bit_unchanged():
    ea = search(population=4)
    genotype = GSpace(2).sample(np.random.default_rng(0))
    found = ea.search_discriminator(genotype)
    assert len(found) == 4 and all(DSpace(2).valid(one.genotype) for one in found)
    maker = ea.generator.alone(genotype)
    g_adam = torch.optim.Adam(maker.parameters(), 1e-3, BETAS)
    d_adam = torch.optim.Adam(ea.discriminator.parameters(), 1e-3, BETAS)
    for trained in (1, 2):  # the second could change the first, if that one's weights were the live generator's
        before = [{name: t.clone() for name, t in weights.items()} for weights in ea.weights]
        ea.train_member(trained, maker, g_adam, d_adam)
        for i in range(4):
            same = all(torch.equal(t, before[i][name]) for name, t in ea.weights[i].items())
            assert same == (i != trained)


def test_new_discriminators_begin_with_the_best_generator():
    ea = search(population=4)
    ea.members = [DSpace(2).sample(np.random.default_rng(i)) for i in range(4)]
    ea.weights = [{"w": torch.full((1,), float(i))} for i in range(4)]
    scored = [Scored(member, float(i), 4.0 - i, 10) for i, member in enumerate(ea.members)]
    ea._next_discriminators(scored)
    # Member 3 has the best score and distance at equal size; the children inherit its weights as copies.
    assert [w["w"].item() for w in ea.weights[2:]] == [3.0, 3.0]
    ea.weights[2]["w"].zero_()
    assert ea.weights[3]["w"].item() == 3.0


def test_images_that_cannot_be_judged_are_never_chosen():
    def broken(images):
        raise EvaluationFailed("collapsed")

    with pytest.raises(EvaluationFailed, match="none of 8"):
        search(evaluator=broken).search_generator()
    assert all(np.isinf(one.fid) for one in search(evaluator=broken, evolve=False).search_generator())


def test_the_global_generator_is_left_alone():
    state = torch.get_rng_state()
    search().search_generator()
    assert torch.equal(torch.get_rng_state(), state)
