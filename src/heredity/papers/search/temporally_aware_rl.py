"""Temporally-aware learning rules: an objective that knows how far through its budget it is (arXiv 2402.05828)."""

from __future__ import annotations

from heredity.papers.card import Figure, Paper
from heredity.papers.claim import AllOf, AnyOf, Arm, Claim, Difference, Level, Pilot, Scale, Settings

_TUNING: Settings = {"trials": 32, "tuning_levels": 48}
_TA, _STATIC, _META, _FIRST = "temporal", "static", "meta_gradient", "first"


def _changes(what: str, metric: str) -> AnyOf:
    """A schedule goes up or down."""
    return AnyOf(
        (
            Level(f"evolution lets the {what} fall over a lifetime", _TA, metric, below=0.0),
            Level(f"evolution lets the {what} rise over a lifetime", _TA, metric, above=0.0),
        )
    )


CLAIM = Claim(
    says=(
        "A learned objective that is told n / N and log N, found by evolution, trains agents to higher returns than "
        "the same objective without time, over budgets of 10 to 100 updates; evolution makes it a schedule, "
        "meta-gradients do so less."
    ),
    setting=(
        "Gridworlds of 4 × 4 cells without walls: a reward of .3 one or two steps from the start, a reward of 1 at one "
        "of the three farthest cells, either of which ends the episode, as does the 12th step. Tabular agents, 8 "
        "workers, an update every 10 steps. The objective: lr · (A2C's policy loss − w · entropy), log10 lr = 1.7 + o1 "
        "(o1 in −2 … 1), log10 w = −2 + o2 (o2 in −2 … 2), o an MLP 2-8-2 of (2 n/N − 1, ln N / 2.3 − 1.5), 42 "
        "parameters; the static one gets zeros for both. Critic: value lr 2, γ .99, returns of the rollout. OpenES: 12 "
        "pairs, 3 levels per member, equal levels and draws within a pair, pair shaping, σ .3, Adam's step from .1 to "
        ".02, 100 generations; budgets log-uniform in 10 … 100, one per generation. Meta-gradient: K = 5 updates, 72 "
        "agents, Adam .01, as many lifetimes as take about the time of the evolution. Tests on 256 unseen levels per "
        "seed, agents judged by 64 episodes."
    ),
    trial="heredity.papers.testbeds.learned_schedules:trial",
    arms=(
        Arm(_TA, "temporally-aware objective, by evolution", "tested", {"search": "temporal"}),
        Arm(_STATIC, "the same without time, by evolution", "baseline", {"search": "static"}),
        Arm(_META, "temporally-aware objective, by meta-gradients", "baseline", {"search": "meta_gradient"}),
        Arm("constant", "A2C: lr, entropy and value lr the best of 32 draws", "baseline", {"search": "constant"}),
        Arm(
            "annealed",
            "A2C with linear annealing of lr and entropy, the best of 32 draws",
            "baseline",
            {"search": "annealed"},
        ),
        Arm(_FIRST, "the objective before any search", "information", {"search": "first"}),
    ),
    metric="return",
    direction="higher",
    metrics={
        "return": "mean return of trained agents on unseen levels, mean of the budgets 10, 30 and 100",
        "return_10": "of agents with 10 updates",
        "return_30": "of agents with 30 updates",
        "return_100": "of agents with 100 updates",
        "return_300": "of agents with 300 updates, more than any that was trained on",
        "change_lr": "log10 of the learning rate at the end less at the beginning of a budget of 30",
        "change_entropy": "log10 of the entropy's weight at the end less at the beginning of a budget of 30",
        "change": "sum of the sizes of both changes",
        "es_gain": "return of the better of both evolved objectives less that of the objective before any search",
    },
    rule=AllOf(
        (
            Difference("knowing the time helps", _TA, _STATIC),
            _changes("learning rate", "change_lr"),
            _changes("entropy's weight", "change_entropy"),
            Difference("evolution finds more of a schedule than meta-gradients", _TA, _META, metric="change"),
            Difference("evolved beats meta-gradients", _TA, _META, weight="reported"),
            Difference("it beats tuned A2C", _TA, "constant", weight="reported"),
            Difference("it beats tuned and annealed A2C", _TA, "annealed", weight="reported"),
            Difference("annealing helps tuned A2C", "annealed", "constant", weight="reported"),
            *(
                Difference(
                    f"knowing the time helps with {horizon} updates",
                    _TA,
                    _STATIC,
                    metric=f"return_{horizon}",
                    weight="reported",
                )
                for horizon in (10, 30, 100)
            ),
            Difference(
                "it helps with 300 updates, outside of training", _TA, _STATIC, metric="return_300", weight="reported"
            ),
            Difference(
                "with 300 updates it beats annealed A2C", _TA, "annealed", metric="return_300", weight="reported"
            ),
        )
    ),
    preconditions=(Level("evolution beats the objective that it began with", _FIRST, "es_gain", above=0.0),),
    scales=(
        Scale(
            "small",
            10,
            "5 minutes on 2 cores",
            {"batch": 5, "generations": 100, "lifetimes": 55, "test_levels": 256, **_TUNING},
        ),
        Scale(
            "medium",
            40,
            "an hour on 2 cores",
            {"batch": 10, "generations": 300, "lifetimes": 165, "test_levels": 256, **_TUNING},
        ),
        Scale(
            "full",
            5,
            "the paper's: LPG with a GRU of 256, 512 pairs, 2,500 generations; MinAtar for LPO",
            needs="a GPU for days, and minatar and stable-baselines3 for the comparisons",
        ),
    ),
    first_seed=200,
    pilots=(
        Pilot(
            (0, 1),
            "With LPG as objective (width small, 200 generations would take 29 minutes) on the paper's kind of levels "
            "there was no schedule to find: tuned A2C .76/.83/.86, annealed .75/.82/.85 at 10/30/100 updates. On the "
            "deceptive levels tuned A2C had .65/.75/.81, annealed .73/.90/.98, LPG by evolution .35/.46/.57, "
            "temporally aware .31/.31/.32. The 42-parameter objective, two seeds, 38 to 46 generations: temporal "
            ".58/.80/.93 and .55/.78/.91, static .72/.81/.90 and .68/.73/.79.",
        ),
        Pilot(
            (9000, 9001, 9002, 9003, 9004),
            "Timing: six generations and untrained objectives (.62/.81/.91 at 10/30/100 updates). On 96 other levels "
            "hand-made settings told which critic shows the effect: with value lr 2, constant settings gave "
            ".65/.81/.92 and an annealed one .68/.88/.99; with 10 or more the critic diverged, and one that moves "
            "states to the mean of their returns left constant settings at .72/.93/.98, without an effect to find.",
        ),
    ),
)

PAPER = Paper(
    slug="temporally_aware_rl",
    family="search",
    title="Discovering Temporally-Aware Reinforcement Learning Algorithms",
    authors=(
        "Matthew Thomas Jackson",
        "Chris Lu",
        "Louis Kirsch",
        "Robert Tjarko Lange",
        "Shimon Whiteson",
        "Jakob Nicolaus Foerster",
    ),
    year=2024,
    id="arXiv 2402.05828",
    venue="ICLR",
    sentence=(
        "Learned objectives for reinforcement learning that are told how much of the agent's budget is spent "
        "generalise to other budgets and tasks, and turn from exploring to exploiting; evolution finds such schedules, "
        "meta-gradients do not."
    ),
    figures=(Figure("returns in curves only; the abstract quotes none", "figures"),),
    reference_code="https://github.com/EmptyJackson/groove",
    strengths=(
        "a whole lifetime is judged, so schedules can be found that no short-sighted gradient sees",
        "needs two more inputs and nothing else",
        "fitness by ranks within pairs on equal levels needs no scale of returns across tasks",
    ),
    avoid_when=(
        "the budget is not known when training begins",
        "a tuned schedule by hand is at hand: linear annealing is a strong baseline",
        "lifetimes are too dear to run thousands of them",
    ),
    deviations=(
        "the check learns two coefficients of A2C's loss, not LPG's network or a drift; those are in the library with "
        "their tests",
        "told n/N and log N, as the paper says; the released code feeds raw counts",
        "ties of a pair count half for both (the released code favours the second)",
        "meta-gradients use Adam .01 where the paper has 1e-4, since only hundreds of steps are taken; their critic is "
        "a table",
        "a generation's budget is common to all members, and to the seeds that are computed side by side",
        "intervals are over ten seeds of the search; each is tested on 256 levels, which are averaged, where a "
        "bootstrap over levels as well would widen them slightly",
        "an agent whose policy is no longer finite counts with return 0, the lowest there is, since the second run; in "
        "the first its seeds were lost. With 300 updates, more than it was tuned for, 27 of 1,280 agents of annealed "
        "A2C diverged: left out, they would make the advantage over it about .016 instead of .026",
        "both coefficients must move: the paper shows it for its whole objectives",
        "walls that would fill a whole level are left out",
    ),
    covers=(
        "heredity.search.learned_objectives",
        "heredity.search.meta_training",
        "heredity.search.tabular_agents",
        "heredity.environments.gridworlds",
        "heredity.papers.testbeds.learned_schedules",
    ),
    claim=CLAIM,
)
