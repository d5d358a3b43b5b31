"""EvoLLM: a language model as the recombination of an evolution strategy (arXiv 2402.18381)."""

from __future__ import annotations

from heredity.papers.card import Figure, Paper
from heredity.papers.claim import AllOf, Arm, Claim, Difference, Pilot, Scale, Settings

_MODEL: Settings = {"arm": "model"}
_HINDSIGHT: Settings = {**_MODEL, "teacher": "momentum", "ahead": 5}
_TESTED = "hindsight"
_SIMPLE = ("random", "hill_climb", "last_elite")
_FUNCTIONS = ("rosenbrock", "rastrigin", "ackley", "griewank", "sharp_ridge", "schwefel12")
_PART_A = (
    _TESTED,
    "next_mean",
    "momentum",
    *_SIMPLE,
    "snes",
    "mean_es",
    "untrained",
    "of_snes",
    "unsorted",
    "best_first",
    "levels_16",
    "levels_64",
    "levels_128",
)

CLAIM = Claim(
    says=(
        "A sequence model that has learned from an evolution strategy on one family of functions, and writes the next "
        "mean after the sorted history as whole numbers, finds lower values of other functions than random search, "
        "Gaussian hill climbing and a strategy that repeats the last elite (part A). Frozen models of text are "
        "not checked unless one is named (part B)."
    ),
    setting=(
        "Box −3 … 3, σ .2, N = 5, 20 generations, from a random point; functions in their own units, shifted and "
        "turned: Rosenbrock, Rastrigin, Ackley, Griewank, sharp ridge, Schwefel 1.2, none of which was trained on; in "
        "two dimensions, in two with normal noise of 1 on what searches see (regret is always without), and in eight, "
        "asked two coordinates at a time. Model: causal transformer, two layers, width 64, 120 thousand parameters, "
        "one token per number, which is the difference from the last elite in units of σ/4, −63 … 63; context: four "
        "generations of five members, sorted from the worst to the best; the likeliest answer is taken. 57,000 prompts "
        "of 3,000 runs of MomentumES (m ← m + p, p ← .6 p + mean of the 2 best − m) on two-dimensional ellipsoids of "
        "conditions 1 … 10⁴: its next mean, or with hindsight its mean five generations later. 360 steps of AdamW, 128 "
        "prompts each. The model is trained once; the seed draws functions and searches."
    ),
    trial="heredity.papers.testbeds.number_teachers:trial",
    arms=(
        Arm(_TESTED, "writes the teacher's mean of five generations later", "tested", _HINDSIGHT),
        Arm("next_mean", "writes the teacher's next mean", "tested", {**_MODEL, "teacher": "momentum", "ahead": 1}),
        Arm("momentum", "its teacher, MomentumES", "baseline", {"arm": "momentum"}),
        Arm("random", "random search", "baseline", {"arm": "random"}),
        Arm("hill_climb", "Gaussian hill climbing, the same σ", "baseline", {"arm": "hill_climb"}),
        Arm("last_elite", "answers with the last elite, no model", "baseline", {"arm": "last_elite"}),
        Arm("snes", "SNES, the same first σ", "baseline", {"arm": "snes"}),
        Arm("mean_es", "mean of the two best, the same σ", "baseline", {"arm": "mean_es"}),
        Arm("untrained", "an untrained transformer", "ablation", {**_MODEL, "teacher": "none"}),
        Arm("of_snes", "writes the next mean of SNES", "ablation", {**_MODEL, "teacher": "snes", "ahead": 1}),
        Arm(
            "unsorted",
            "hindsight, members and generations as they came",
            "ablation",
            {**_HINDSIGHT, "order": "unsorted"},
        ),
        Arm("best_first", "hindsight, from the best to the worst", "ablation", {**_HINDSIGHT, "order": "reversed"}),
        Arm("levels_16", "hindsight, 16 levels over the box", "ablation", {**_HINDSIGHT, "levels": 16}),
        Arm("levels_64", "hindsight, 64 levels over the box", "ablation", {**_HINDSIGHT, "levels": 64}),
        Arm("levels_128", "hindsight, 128 levels over the box", "ablation", {**_HINDSIGHT, "levels": 128}),
        Arm("language_model", "EvoLLM with the text model that HEREDITY_LM names", "tested", {"arm": "language_model"}),
    ),
    metric="regret",
    direction="lower",
    metrics={
        "regret": "log10 of the lowest regret of 100 evaluations, mean of six functions in three settings",
        "regret_2": "the same in two dimensions",
        "regret_noisy": "the same in two dimensions with noise",
        "regret_8": "the same in eight dimensions",
        **{f"on_{name}": f"the same on {name}, mean of three settings" for name in _FUNCTIONS},
        "carts": (
            "CartPole's return of the best seen linear policy, as a share of 500, in 20 new episodes after 100 "
            "evaluations of 4 episodes"
        ),
        "calls": "questions to the text model",
        "fallbacks": "share of generations whose mean it did not give",
    },
    rule=AllOf(
        (
            *(Difference(f"A: beats {name}", _TESTED, name) for name in _SIMPLE),
            *(Difference(f"A: the next mean beats {name}", "next_mean", name, weight="reported") for name in _SIMPLE),
            Difference("A: hindsight beats its teacher", _TESTED, "momentum", weight="reported"),
            Difference("A: the next mean beats its teacher", "next_mean", "momentum", weight="reported"),
            Difference("A: beats SNES", _TESTED, "snes", weight="reported"),
            Difference("A: beats the mean of the best", _TESTED, "mean_es", weight="reported"),
            Difference("A: beats an untrained model", _TESTED, "untrained", weight="reported"),
            Difference("A: the teacher matters", _TESTED, "of_snes", weight="reported"),
            Difference("A: sorting matters", _TESTED, "unsorted", weight="reported"),
            Difference("A: worst first beats best first", _TESTED, "best_first", weight="reported"),
            Difference("A: 64 levels beat 16", "levels_64", "levels_16", weight="reported"),
            Difference("A: 128 levels beat 64", "levels_128", "levels_64", weight="reported"),
            *(
                Difference(f"A: beats all three, {about}", _TESTED, _SIMPLE, metric=metric, weight="reported")
                for metric, about in (
                    ("regret_2", "two dimensions"),
                    ("regret_noisy", "with noise"),
                    ("regret_8", "eight dimensions"),
                )
            ),
            *(
                Difference(f"A: beats all three on {name}", _TESTED, _SIMPLE, metric=f"on_{name}", weight="reported")
                for name in _FUNCTIONS
            ),
            Difference(
                "A: beats all three at CartPole",
                _TESTED,
                _SIMPLE,
                metric="carts",
                direction="higher",
                weight="reported",
            ),
            *(
                Difference(
                    f"B: a text model beats {name}", "language_model", name, metric="regret_2", weight="reported"
                )
                for name in ("random", "hill_climb")
            ),
        )
    ),
    scales=(
        Scale(
            "small",
            30,
            "5 minutes on 2 cores",
            {"batch": 30, "generations": 20, "runs": 3000, "steps": 360, "model_seed": 1},
            arms=_PART_A,
        ),
        Scale(
            "medium",
            60,
            "half an hour on 2 cores, and a language model that HEREDITY_LM names",
            {"batch": 30, "generations": 20, "runs": 6000, "steps": 2000, "model_seed": 1},
        ),
        Scale(
            "full",
            5,
            "the paper's: base models of several sizes, ten functions in 2 to 10 dimensions, gymnasium's control",
            needs="several base models of text and a GPU that holds them, and adapters trained on teachers' traces",
        ),
    ),
    first_seed=600,
    pilots=(
        Pilot(
            tuple(range(30)),
            "An earlier set-up, two dimensions, mean rank of ten arms without and with noise: random 5.5/4.0, hill "
            "climbing 6.0/7.2, last elite 4.3/4.5, MeanES 6.3/8.0, SNES 6.7/5.8, MomentumES 3.2/2.7, untrained "
            "8.3/7.8, of SNES 7.7/7.8, next mean 4.2/3.8, hindsight 2.8/3.3; in eight dimensions random 5.3, "
            "hill climbing 6.3, last elite 4.2, MomentumES 3.0, next mean 2.7, hindsight 1.8.",
        ),
        Pilot(
            tuple(range(7000, 7030)),
            "Whole settings without ablations, one model per teacher, in three set-ups; means of log10 regret in "
            "two dimensions, with noise, in eight. Functions stretched to the box, from its middle: hindsight "
            "-.33/-.22/1.59, last elite -.36/-.13/1.56, hill climbing -.28/-.01/1.56, random .31/.31/1.69. In "
            "their own units as in the paper's box, from its middle, in the same order: -1.04/-.52/.99, "
            "-1.11/-.45/.92, -1.07/-.22/.91, -.35/-.35/1.06. In their own units from a random point, which "
            "favours nobody who stays in the middle, and was taken: -.71/-.25/1.17, -.57/-.11/1.39, "
            "-.61/.02/1.36, -.35/-.35/1.06; next mean -.71/-.20/1.23, MomentumES -.67/-.20/1.22, SNES "
            "-.50/-.12/1.47, mean of the best -.30/.06/1.53.",
        ),
    ),
)

PAPER = Paper(
    slug="evollm",
    family="search",
    title="Large Language Models As Evolution Strategies",
    authors=("Robert Tjarko Lange", "Yingtao Tian", "Yujin Tang"),
    year=2024,
    id="arXiv 2402.18381",
    venue="GECCO Companion",
    sentence=(
        "A language model that has never seen the task, shown sorted solutions as whole numbers, proposes the next "
        "mean of an evolution strategy well enough to beat random search and Gaussian hill climbing; learning from a "
        "teacher's runs makes it better."
    ),
    figures=(Figure("beats random search and Gaussian hill climbing on BBOB and small control, in words", "abstract"),),
    strengths=(
        "any model that continues text can be plugged in",
        "knows nothing of scales: it sees ranks and whole numbers",
        "a teacher's way of searching can be learned from its runs",
    ),
    avoid_when=(
        "evaluations are cheaper than questions to a model",
        "many dimensions: every few coordinates are another question",
        "precision is needed: σ is fixed, which leaves a regret of about σ² per coordinate",
    ),
    deviations=(
        "part A has a small sequence model trained on a teacher in the language model's place",
        "numbers of the check are differences from the last elite; 16 to 128 levels over the box are ablations",
        "the format of lines, ranks in place of fitness, and what happens when an answer cannot be read are ours; the "
        "paper's code is not public",
        "the check's contexts hold no fitness, since ranks say what the order says",
        "one trained model per arm: intervals are over functions, noise and searches, not over trainings",
        "means of log10 regret decide; mean ranks over arms, as in the first pilot, are not computed",
    ),
    covers=(
        "heredity.search.evollm",
        "heredity.search.number_prompts",
        "heredity.papers.testbeds.number_search",
        "heredity.papers.testbeds.number_teachers",
    ),
    claim=CLAIM,
)
