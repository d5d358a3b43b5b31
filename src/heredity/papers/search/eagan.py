"""EAGAN: generator and discriminator evolved in two stages with shared weights (arXiv 2111.15097)."""

from __future__ import annotations

from heredity.papers.card import Figure, Paper
from heredity.papers.claim import AllOf, Arm, Claim, Difference, Level, Pilot, Scale

CLAIM = Claim(
    says=(
        "A generator and a discriminator that evolution found with shared weights, trained from scratch, make better "
        "images than the best of at least as many random ones judged with shared weights of the same training."
    ),
    setting=(
        "scikit-learn's 1,797 digits of 8 by 8 pixels. Generators of two cells from a side of 2, discriminators of a "
        "block and two cells, 8 channels, kernels of 1, 3 and dilated 3; hinge loss, Adam (generator 2e-3, "
        "discriminator 4e-3), batches of 32. Each seed searches anew: 150 steps with random architectures, then four "
        "rounds of 60 steps and a selection among 8 members and 8 children, in both stages; 500 images judge an "
        "architecture. Random search trains as long, and judges 40 random generators, then 8 discriminators that "
        "trained one to one. Then 400 steps from scratch; 1,500 images of the mean of the generator's weights (decay "
        ".98) are judged by the Frechet distance of a digit classifier's 64 features to all digits."
    ),
    trial="heredity.papers.testbeds.gan_trials:trial",
    arms=(
        Arm("eagan", "searched generator and searched discriminator", "tested", {"found_by": "evolution"}),
        Arm(
            "eagan_generator",
            "the same generator against the hand-made discriminator",
            "ablation",
            {"found_by": "evolution", "hand_made_judge": True},
        ),
        Arm("random_search", "the best by shared weights of random ones", "baseline", {"found_by": "random_search"}),
        Arm("chance", "one random generator and discriminator", "baseline", {"found_by": "chance"}),
        Arm("dcgan", "a plain DCGAN with as many parameters", "baseline", {"found_by": "nothing"}),
        Arm(
            "diagnosis",
            "six random generators and four seeds of one of them; the same networks for every seed",
            "information",
            {"found_by": "diagnosis"},
        ),
    ),
    metric="fid",
    direction="lower",
    metrics={
        "fid": "Frechet distance of the features of 1,500 made images to those of all 1,797 digits",
        "log_fid": "its natural logarithm",
        "score": "inception score by the digit classifier",
        "size": "parameters of the generator",
        "spread": "deviation of log_fid between random generators, less that between seeds of one",
        "rank": "Spearman's correlation of the generators' distances with shared weights and alone",
    },
    rule=AllOf(
        (
            Difference("evolution beats random search with shared weights", "eagan", "random_search"),
            Difference("in the logarithm, too", "eagan", "random_search", "log_fid", weight="reported"),
            Difference("the searched discriminator helps", "eagan", "eagan_generator", weight="reported"),
            Difference("evolution beats chance", "eagan", "chance", weight="reported"),
            Difference("random search beats chance", "random_search", "chance", weight="reported"),
            Difference("evolution beats a DCGAN", "eagan", "dcgan", weight="reported"),
            Level("shared weights tell which is good", "diagnosis", "rank", above=0.0, weight="reported"),
        )
    ),
    preconditions=(Level("architectures differ more than seeds", "diagnosis", "spread", above=0.0),),
    scales=(
        Scale("small", 8, "5 minutes on 2 cores", {"steps": 400}),
        Scale("medium", 20, "an hour on 2 cores", {"steps": 3000}),
        Scale("full", 3, "the paper's: CIFAR-10 and STL-10, 1.2 GPU days of search", needs="the data and Inception-v3"),
    ),
    first_seed=100,
    pilots=(
        Pilot(
            (0,),
            "16 by 16 pixels, three cells, 24 channels: more than 55 s for 300 steps on one core; too slow. Half of "
            "the digits are at a distance of .57 to all in another classifier's features.",
        ),
        Pilot(
            (1, 901, 902, 903),
            "8 by 8: 13 ms a step on a busy core. With equal learning rates of 1e-3 and five discriminator steps a "
            "supernet learns nothing in 390 steps (distance 1,460); with 2e-3 and 4e-3 and one it reaches 211, and a "
            "random generator alone 166 after 400 steps, against 318 with 2e-3 and 2e-3, 308 with 5e-4 and 2e-3, and "
            "501 with 1e-3 and 1e-3. One seed after 400 steps: evolution 80, random search 85, chance 91, with the "
            "hand-made discriminator 135. Half of the digits are at .75.",
        ),
    ),
)

PAPER = Paper(
    slug="eagan",
    family="search",
    title="EAGAN: Efficient Two-stage Evolutionary Architecture Search for GANs",
    authors=("Guohao Ying", "Xin He", "Bin Gao", "Bo Han", "Xiaowen Chu"),
    year=2022,
    id="arXiv 2111.15097",
    venue="ECCV",
    sentence=(
        "Searching a generator against one fixed discriminator, and then a discriminator that owns its copy of the "
        "generator, by evolution with shared weights and several objectives, finds good adversarial networks stably "
        "and fast."
    ),
    figures=(
        Figure("CIFAR-10: inception score 8.81 ± 0.10, FID 9.91", "abstract"),
        Figure("STL-10: inception score 10.44 ± 0.087, FID 22.18", "abstract"),
        Figure("search in 1.2 GPU days", "abstract"),
    ),
    reference_code="https://github.com/marsggbo/EAGAN",
    strengths=(
        "one training judges thousands of architectures",
        "the two searches are apart, so that a collapsing pair does not end the search",
        "selection keeps large architectures that learn late",
    ),
    avoid_when=(
        "training alone is cheap enough to judge by",
        "learning rates do not suit the shared weights: then every architecture looks alike",
        "the generator's size matters most: a smaller hand-made one may do",
    ),
    deviations=(
        "8 by 8 digits, two cells, few channels, kernels up to 3, one discriminator step for one of the generator in "
        "stage 2; learning rates chosen in a pilot, the same for all arms",
        "selection does not reverse the quality objective, copies of weights are copies, a new discriminator begins "
        "with the best one's generator, genotypes are checked as a whole (the released code differs)",
        "a cell's cross-scale output is not changed in place by what the cell takes in from older ones; it holds them",
        "normalisation in the head is measured anew for every architecture that is judged",
        "the hand-made discriminator of the search space is the one of stage 1, not a plain convolutional one",
    ),
    covers=(
        "heredity.search.eagan",
        "heredity.search.supernet",
        "heredity.search.gan_cells",
        "heredity.search.gan_spaces",
        "heredity.search.pareto:cars_select",
        "heredity.papers.testbeds.gan_trials:SearchGAN",
    ),
    claim=CLAIM,
)
