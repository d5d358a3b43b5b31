"""Functional hashing: what computes the same is evaluated once (arXiv 2302.05433)."""

from __future__ import annotations

from heredity.papers.card import Figure, Paper
from heredity.papers.claim import AllOf, AnyOf, Arm, Claim, Difference, Level, Pilot, Scale

_NOISY = {"noise": 0.02}
_REFERENCES = ("none", "syntactic")


def _holds_in(world: str) -> AllOf:
    """The rule in one domain."""
    return AllOf(
        (
            Difference(f"{world}: better than without a cache", "functional", "none", world=world),
            Difference(f"{world}: better than with a syntactic cache", "functional", "syntactic", world=world),
            Level(f"{world}: hits on another function are rare", "functional", "false_hits", below=0.01, world=world),
        )
    )


def _reported(world: str) -> tuple[Difference, ...]:
    return (
        Difference(
            f"{world}: more functions for the same cost",
            "functional",
            _REFERENCES,
            metric="distinct",
            world=world,
            weight="reported",
        ),
        Difference(f"{world}: random search gains too", "random_functional", "random", world=world, weight="reported"),
        Difference(f"{world}: 24 bits beat 4", "functional", "bits_4", world=world, weight="reported"),
        Difference(f"{world}: it gains under noise", "noisy_functional", "noisy_none", world=world, weight="reported"),
        Difference(
            f"{world}: under noise, three evaluations beat one",
            "noisy_three",
            "noisy_functional",
            world=world,
            weight="reported",
        ),
    )


CLAIM = Claim(
    says=(
        "With the same total cost of evaluations and hashes, a search that looks candidates up by what they compute "
        "finds better ones than a search without a cache and than one with a syntactic cache, in at least one of two "
        "domains, and hardly ever takes one function for another."
    ),
    setting=(
        "Cells: directed acyclic graphs of at most five vertices and nine edges over linear, relu, tanh, identity and"
        " halving, in a network 128-32-cell-2 that tells whether two of scikit-learn's digits are the same; 1,200 "
        "training, 800 validation and 1,200 test pairs of disjoint images; an evaluation is 12 epochs of Adam, a hash"
        " four losses along three steps on 64 pairs. Programs: setup, predict and learn of at most eight "
        "instructions, around linear regression with a learning rate that is far too small, on scikit-learn's "
        "diabetes data projected to 8 dimensions; an evaluation is five epochs on three splits, a hash the "
        "predictions on ten training and ten validation examples of each. The seed divides the data and draws the "
        "search. Regularised evolution, population 20, tournament 5, 80 evaluations' worth of cost, in which a "
        "functional look-up costs .02 and a syntactic one nothing; at most 2,000 candidates. The syntactic key is "
        "exact isomorphism of pruned graphs, and programs without dead instructions."
    ),
    trial="heredity.papers.testbeds.cached_search:trial",
    worlds=("cells", "programs"),
    arms=(
        Arm("functional", "evolution, functional cache with 24 mantissa bits", "tested", {"cache": "functional"}),
        Arm("none", "evolution without a cache", "baseline", {"cache": "none"}),
        Arm("syntactic", "evolution, cache of candidates that look the same", "baseline", {"cache": "syntactic"}),
        Arm("random", "random search without a cache", "baseline", {"search": "random", "cache": "none"}),
        Arm(
            "random_functional",
            "random search, functional cache",
            "tested",
            {"search": "random", "cache": "functional"},
        ),
        Arm(
            "paper_ratio",
            "functional, a hash charged as a hundredth of an evaluation, the paper's ratio",
            "information",
            {"cache": "functional", "hash_cost": 0.01},
        ),
        Arm("bits_2", "functional, 2 mantissa bits", "ablation", {"cache": "functional", "mantissa_bits": 2}),
        Arm("bits_4", "functional, 4 mantissa bits", "ablation", {"cache": "functional", "mantissa_bits": 4}),
        Arm("bits_8", "functional, 8 mantissa bits", "ablation", {"cache": "functional", "mantissa_bits": 8}),
        Arm("bits_52", "functional, all mantissa bits", "ablation", {"cache": "functional", "mantissa_bits": 52}),
        Arm(
            "noisy_none", "no cache; normal noise of .02 on validation scores", "baseline", {"cache": "none", **_NOISY}
        ),
        Arm("noisy_functional", "functional, the same noise", "tested", {"cache": "functional", **_NOISY}),
        Arm(
            "noisy_three",
            "functional, the same noise, mean of up to three evaluations",
            "ablation",
            {"cache": "functional", "max_evals": 3, **_NOISY},
        ),
        Arm(
            "noisy_remove",
            "functional, the same noise, every tenth hit forgets",
            "ablation",
            {"cache": "functional", "remove_probability": 0.1, **_NOISY},
        ),
    ),
    metric="area",
    direction="higher",
    metrics={
        "area": (
            "mean over the budget of the test score (accuracy; R², below 0 counted as 0) of the candidate that is "
            "best by validation at that time; before the first, what chance gives"
        ),
        "test": "test score of the best by validation at the end",
        "distinct": "functions evaluated, told apart by 40 mantissa bits, per evaluation's cost",
        "proposals": "candidates tried",
        "hits": "share of them that the cache answered",
        "false_hits": "share of the answers that were stored for another function, judged by 40 mantissa bits",
        "hit_error": (
            "mean absolute difference between the cache's answer and the candidate's own validation score, over the "
            "first 20 answers"
        ),
    },
    rule=AnyOf((_holds_in("cells"), _holds_in("programs"), *_reported("cells"), *_reported("programs"))),
    preconditions=(
        Level("cells: the search finds cells that work", "none", "test", above=0.7, world="cells"),
        Level("programs: the search finds programs that learn", "none", "test", above=0.1, world="programs"),
    ),
    scales=(
        Scale(
            "small",
            10,
            "5 minutes on 2 cores",
            arms=(
                "functional",
                "none",
                "syntactic",
                "random",
                "random_functional",
                "paper_ratio",
                "bits_4",
                "bits_52",
                "noisy_none",
                "noisy_functional",
                "noisy_three",
                "noisy_remove",
            ),
        ),
        Scale("medium", 40, "an hour on 2 cores", {"budget": 200.0, "proposals": 5000}),
        Scale(
            "full",
            30,
            "the paper's: NAS-Bench-101 and AutoML-Zero",
            needs="the table nasbench_only108.tfrecord and a reader of it",
        ),
    ),
    first_seed=100,
    pilots=(
        Pilot(
            (0, 1, 2, 3),
            "On ten-class digits all cells lie within .85 to .91 and four seeds found no difference of test scores; "
            "the pair task spreads cells from chance to .88. Two seeds with 60 evaluations gave areas of .850 and "
            ".871 without a cache, .855 and .875 with a syntactic one, .861 with a functional one (one seed).",
        ),
        Pilot(
            (777, 900, 901, 902, 999),
            "Timed the parts (cells: 45 ms an evaluation, .9 ms a hash; programs: 11 ms and .13 ms) and fixed the "
            "cost of a hash at .02. Areas at three seeds, functional less none and less syntactic: cells .0010, "
            "-.0007, .0017 and -.0003, -.0003, -.0009; programs .038, .003, .234 and .015, .003, .096.",
        ),
    ),
)

PAPER = Paper(
    slug="functional_hashing",
    family="search",
    title="Unified Functional Hashing in Automatic Machine Learning",
    authors=(
        "Ryan Gillard",
        "Stephen Jonany",
        "Yingjie Miao",
        "Michael Munn",
        "Connal de Souza",
        "Jonathan Dungay",
        "Chen Liang",
        "David R. So",
        "Quoc V. Le",
        "Esteban Real",
    ),
    year=2023,
    id="arXiv 2302.05433",
    sentence=(
        "A hash of what a candidate computes on a tiny fixed task, whatever its representation, lets a search skip "
        "the evaluation of equivalent candidates, which makes searches of architectures and algorithms much more "
        "efficient."
    ),
    figures=(
        Figure("dramatic improvements on multiple AutoML domains, in words; its curves were not read off", "abstract"),
    ),
    reference_code="https://github.com/google-research/unified_functional_hashing",
    strengths=(
        "one mechanism for graphs, programs and functions: it needs nothing but running them",
        "sees through dead code, renaming and algebra, where a syntactic key does not",
        "gains most where a search converges and proposes the same functions again and again",
    ),
    avoid_when=(
        "evaluations are as cheap as a hash",
        "candidates compute at random: dropout, unordered data or kernels that do not repeat make equals differ",
        "a key of the syntax already finds nearly all equals, as for small graphs",
    ),
    deviations=(
        "two small domains stand for NAS-Bench-101 and AutoML-Zero; scores are of real trainings, not of a table",
        "cost is counted in evaluations at a ratio that was timed beforehand, so that a run repeats exactly",
        "isomorphic cells are trained from one representative: their scores do not differ by chance",
        "programs start around a known one: from nothing, 80 evaluations find nothing",
        "the sign is hashed too, NaN and the infinities have codes, and the counters exclude one another (the "
        "released code differs)",
        "Holm's correction for the sub-claims of both domains",
    ),
    covers=(
        "heredity.search.functional_hash",
        "heredity.search.cells",
        "heredity.papers.testbeds.cached_search:CachedSearch",
    ),
    claim=CLAIM,
)
