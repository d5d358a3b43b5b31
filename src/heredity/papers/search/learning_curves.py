"""Learning curves of taggers, modelled from their beginning (arXiv 2402.02515)."""

from __future__ import annotations

from heredity.papers.card import Figure, Paper
from heredity.papers.claim import AllOf, Arm, Claim, Difference, Level, Pilot, Scale

_SEES_LESS = ("last_value", "exponential")

CLAIM = Claim(
    says=(
        "From a part of the training data a power law with levels tells how accurate a tagger will be on all of it: "
        "where less than 8 points are left to gain it is nearer than the last value and an exponential, at least a "
        "third of the taggers come to that point early, waiting for it pays, and anchors steady the asymptote when "
        "observations are distorted."
    ),
    setting=(
        "260,000 NAME tokens of Python's standard library, at most 2,000 of a file, each with one of 14 syntactic "
        "roles from syntax tree and scopes. Features are the surface, prefixes, suffixes and shape of the name, two "
        "tokens on either side and the pair of its neighbours, hashed to 2^17. The seed draws the test files (a sixth "
        "of all names), 10,000 test names of these, and the order of the training names, in blocks of eight over all "
        "files. Eight taggers read them once, in order: multinomial naive Bayes (all features; context), Bernoulli "
        "naive Bayes (shape), averaged logistic regression (all; shape), averaged perceptron (all), averaged hinge "
        "(context), most frequent tag. A forecast may see accuracies at 1,000, 2,000, … 40,000 names; the truth goes "
        "on in steps of 20,000 to 200,000. A cell is the mean over a seed's taggers. ν = 2e-4 (0.2 points per step), "
        "ς = 1, λ = 5. Forecasts are kept within 0 and 100."
    ),
    trial="heredity.papers.testbeds.curve_trials:trial",
    worlds=("clean", "distorted"),
    arms=(
        Arm("trend", "anchored power law at the stop of τ = 8", "tested", {"estimator": "trend"}),
        Arm("plain", "power law without anchors at the same size", "baseline", {"estimator": "plain"}),
        Arm("last_value", "the last accuracy at the same size", "baseline", {"estimator": "last"}),
        Arm("best_value", "the best accuracy up to the same size", "baseline", {"estimator": "best"}),
        Arm("exponential", "c − a·exp(−b·x) with c ≤ 100 at the same size", "baseline", {"estimator": "exponential"}),
        Arm(
            "ensemble",
            "mean of power law, exponential and Morgan-Mercer-Flodin with c ≤ 100 at the same size",
            "baseline",
            {"estimator": "ensemble"},
        ),
        Arm(
            "plain_12k",
            "power law of the same runs at 12,000 names instead of the stop",
            "ablation",
            {"estimator": "plain", "at": 12},
        ),
    ),
    metric="error",
    direction="lower",
    metrics={
        "error": "mean |predicted − true accuracy at 200,000 names| in points, at the stop, of the runs that stop",
        "error_all": "the same over all eight runs, at 40,000 names where one does not stop",
        "error_tau12": "the same over all eight runs for τ = 12",
        "error_tau4": "the same over all eight runs for τ = 4",
        "error_8k": "the same over all eight runs, from 8,000 names",
        "error_12k": "the same over all eight runs, from 12,000 names",
        "error_20k": "the same over all eight runs, from 20,000 names",
        "stopped": "share of the eight runs that stop by 40,000 names with τ = 8",
        "stopped_tau12": "the same with τ = 12",
        "stopped_tau4": "the same with τ = 4",
        "stop": "mean number of names at the stop, of the runs that stop",
        "within_1": "share of the stopped runs whose error is at most one point",
        "mape": "mean absolute percentage error over all later sizes, over all eight runs",
        "reliability": "share of pairs of taggers that are ordered as at 200,000 names",
        "wobble": "mean |α(i+1) − α(i)| after the prediction level, of the runs that reach it, in points",
        "dips": "how often accuracy falls among the 40 visible observations",
    },
    rule=AllOf(
        (
            Difference("at its stop it beats last value and exponential", "trend", _SEES_LESS, world="clean"),
            Level("a third of the runs stop", "trend", "stopped", above=1 / 3, world="clean"),
            Difference("waiting for the stop beats 12,000 names", "trend", "plain_12k", world="clean"),
            Difference("distorted, anchors steady the asymptote", "trend", "plain", metric="wobble", world="distorted"),
            Difference("it beats the plain fit", "trend", "plain", world="clean", weight="reported"),
            Difference("it beats the ensemble", "trend", "ensemble", world="clean", weight="reported"),
            Difference(
                "it beats the last value over all runs",
                "trend",
                "last_value",
                metric="error_all",
                world="clean",
                weight="reported",
            ),
            Difference(
                "it orders taggers better than the last value",
                "trend",
                "last_value",
                metric="reliability",
                direction="higher",
                world="clean",
                weight="reported",
            ),
            Difference(
                "distorted, it beats last value and exponential",
                "trend",
                _SEES_LESS,
                world="distorted",
                weight="reported",
            ),
            Difference("distorted, it beats the plain fit", "trend", "plain", world="distorted", weight="reported"),
            Level(
                "half of the stopped runs are within a point",
                "trend",
                "within_1",
                above=0.5,
                world="clean",
                weight="reported",
            ),
        )
    ),
    scales=(
        Scale(
            "small",
            10,
            "5 minutes on 2 cores",
            {
                "names": 260_000,
                "step": 1000,
                "visible": 40,
                "late_step": 20_000,
                "last": 200_000,
                "test": 10_000,
                "taus": (12.0, 8.0, 4.0),
                "nu": 2e-4,
                "slowdown": 1.0,
                "look_ahead": 5,
            },
        ),
        Scale(
            "full",
            5,
            "the paper's: eight taggers on English and Spanish treebanks of up to 10^6 words",
            needs="the Penn treebank and AnCora, whose licences do not allow handing them on, and the eight taggers",
        ),
    ),
    first_seed=100,
    pilots=(
        Pilot(
            (0, 1, 2),
            "An earlier build of the same task: with steps of 5,000 up to 200,000 names τ = 1 stopped 11 of 24 runs at "
            "119,000 names, error .71 of the trend, .43 of the last value: a threshold that is only met where nothing "
            "is left to predict. With the schedule kept here (8 taggers × 2 seeds) τ = 8 stopped 7 of 16 at 21,000: "
            "error 1.69 trend, 1.69 plain, 3.29 last value, 2.91 best value. Anchored and plain errors never differed "
            "by more than .06.",
        ),
        Pilot(
            (901, 902, 903),
            "This build, timed: .7 s a curve, 1 to 20 ms a fit. τ = 8 stopped 3 and 5 of 8 runs at 17,000 to 30,000 "
            "names; thresholds 12, 8 and 4 were met at once when the prediction level was known. Stops and "
            "backbones were looked at; every arm ran once, to see that it does, but no error of a forecast was seen.",
        ),
    ),
)

PAPER = Paper(
    slug="learning_curves",
    family="search",
    title="Modeling of learning curves with applications to POS tagging",
    authors=("Manuel Vilares Ferro", "Víctor M. Darriba Bilbao", "Francisco J. Ribadas Pena"),
    year=2017,
    id="arXiv 2402.02515",
    venue="Computer Speech & Language 41, 1-28",
    sentence=(
        "Trends fitted to the beginning of a learning curve converge uniformly to it, so that, past a prediction "
        "level, a user can stop training at a chosen distance from the final accuracy and compare taggers early, also "
        "when observations are distorted."
    ),
    figures=(
        Figure(
            "experiments on English and Spanish corpora agree with the theory, in words; its tables were not read",
            "abstract",
        ),
    ),
    strengths=(
        "needs nothing of a learner but accuracies on growing data: any learner, any framework",
        "says not only what accuracy will be, but when such a forecast may be believed",
        "also stops hopeless candidates of a search (`CurveStopper`)",
    ),
    avoid_when=(
        "accuracy falls now and then or grows in steps: convergence is proved for concave, increasing curves",
        "nearly all data are used already: there the last value is as good",
        "curves begin with a plateau: a flat start looks like convergence",
    ),
    deviations=(
        "the paper and its follow-ups (2402.02516, 2402.02522) could be read in abstract and beginning alone: the "
        "constants ν, ς, λ, the prediction level as the first asymptote of at most 100 and anchors of weight 1 are "
        "reconstructions",
        "names in Python source stand for words, syntactic roles for parts of speech",
        "training names are shuffled in blocks of eight: whole files in order break concavity",
        "a run stops when the level is known, λ + 1 observations after it: what was trained until then is paid for",
        "cells are means over a seed's taggers, resampled by seeds; the share of stopped runs is judged by its mean's "
        "interval over seeds",
        "the card plans ten seeds, which confirmed all four; since Student's interval doubted that waiting for the "
        "stop pays, the result has forty (--seeds 40), under the same rule",
    ),
    covers=(
        "heredity.search.learning_curves",
        "heredity.search.curve_families",
        "heredity.papers.testbeds.curve_trials:Traces",
    ),
    claim=CLAIM,
)
