"""Evolutionary model merge: search how to merge, layer by layer and along the data's path (arXiv 2403.13187)."""

from __future__ import annotations

from heredity.papers.card import Figure, Paper
from heredity.papers.claim import AllOf, Arm, Claim, Difference, Level, Pilot, Scale, Settings

_TWO: Settings = {"hidden": 2}
_THREE: Settings = {"hidden": 3}
_DARE_TIES: Settings = {"method": "dare_ties", "granularity": 1}
_GRIDS = ("task_arithmetic_grid", "ties_grid", "dare_ties_grid")
_PARENTS = ("parent_domain", "parent_skill", "parent_extra")

CLAIM = Claim(
    says=(
        "Searching the coefficients of a DARE-TIES merge layer by layer with CMA-ES gives a better model for a task "
        "that crosses two parents' abilities than the best parent and than grids over the numbers of task "
        "arithmetic, TIES and DARE-TIES with as many evaluations."
    ),
    setting=(
        "scikit-learn's digits, divided by seed: 1,000 images train an ancestor (MLP 64-512-512-10, 20 epochs) and "
        "three parents (6 epochs): domain, turned by 90° and inverted, classes 0-4; skill, upright, all classes; "
        "extra, blurred, classes 5-9. The task is all classes turned and inverted: no parent saw turned 5-9. A "
        "search sees accuracy on 200 of its images; the other 597 are reported. Every search and every grid uses the "
        "same number of evaluations. Arms named deep have an ancestor with three hidden layers, which paths through "
        "layers need."
    ),
    trial="heredity.papers.testbeds.merge_trials:crossed_domains",
    arms=(
        Arm(
            "ps_layer",
            "parameter space, per layer: CMA-ES over weights and densities of DARE-TIES",
            "tested",
            {**_TWO, **_DARE_TIES, "strategy": "recipe_cma"},
        ),
        Arm(
            "ps_global",
            "the same with one weight and density per parent",
            "ablation",
            {**_TWO, "strategy": "recipe_cma", "method": "dare_ties", "granularity": 0},
        ),
        Arm(
            "ps_task_arithmetic",
            "the same per layer with task arithmetic, which can also scale the sum",
            "information",
            {**_TWO, "strategy": "recipe_cma", "method": "task_arithmetic", "granularity": 1},
        ),
        Arm("best_parent", "the parent with the highest fitness", "baseline", {**_TWO, "strategy": "best_parent"}),
        Arm("uniform_soup", "mean of the parents", "baseline", {**_TWO, "strategy": "uniform_soup"}),
        Arm(
            "task_arithmetic_grid",
            "task arithmetic, a grid over its scale",
            "baseline",
            {**_TWO, "strategy": "grid", "method": "task_arithmetic", "lam": (0.005, 1.5)},
        ),
        Arm(
            "ties_grid",
            "TIES, a grid over ten densities and its scale",
            "baseline",
            {**_TWO, "strategy": "grid", "method": "ties", "lam": (0.1, 3.0), "density": (0.1, 1.0), "densities": 10},
        ),
        Arm(
            "dare_ties_grid",
            "DARE-TIES, a grid over ten densities and its scale",
            "baseline",
            {
                **_TWO,
                "strategy": "grid",
                "method": "dare_ties",
                "lam": (0.1, 3.0),
                "density": (0.1, 1.0),
                "densities": 10,
            },
        ),
        Arm(
            "random_recipes",
            "layer-wise DARE-TIES recipes drawn at random",
            "baseline",
            {**_TWO, **_DARE_TIES, "strategy": "recipe_random"},
        ),
        Arm("parent_domain", "turned and inverted 0-4", "information", {**_TWO, "strategy": "one_parent", "parent": 0}),
        Arm("parent_skill", "upright 0-9", "information", {**_TWO, "strategy": "one_parent", "parent": 1}),
        Arm("parent_extra", "blurred 5-9", "information", {**_TWO, "strategy": "one_parent", "parent": 2}),
        Arm("ancestor", "what the parents descend from", "information", {**_TWO, "strategy": "ancestor_itself"}),
        Arm(
            "fine_tuned",
            "gradients: the best parent trained on 160 of the 200 images, the epoch chosen on 40",
            "information",
            {**_TWO, "strategy": "fine_tune", "epochs": 30, "lr": 5e-4},
        ),
        Arm("deep_best_parent", "best parent, three hidden layers", "baseline", {**_THREE, "strategy": "best_parent"}),
        Arm(
            "deep_ps",
            "parameter space per layer, three hidden layers",
            "tested",
            {**_THREE, **_DARE_TIES, "strategy": "recipe_cma"},
        ),
        Arm(
            "deep_dfs",
            "data-flow space: CMA-ES over the path and its scales",
            "tested",
            {**_THREE, "strategy": "data_flow_cma", "repeats": 3, "scales": True},
        ),
        Arm(
            "deep_dfs_unscaled",
            "data-flow space, all scales 1",
            "ablation",
            {**_THREE, "strategy": "data_flow_cma", "repeats": 3, "scales": False},
        ),
        Arm(
            "deep_ps_dfs",
            "half of the evaluations in parameter space, then a path with the merge as first parent",
            "tested",
            {**_THREE, **_DARE_TIES, "strategy": "data_flow_cma", "repeats": 3, "scales": True, "merge_first": True},
        ),
    ),
    metric="accuracy",
    direction="higher",
    metrics={
        "accuracy": "share of the task's 597 test images that are classified correctly",
        "fitness": "the same on the 200 images that the search saw",
        "gap": "fitness less accuracy: what the search overfitted",
        "upright": "accuracy on the test images without shifts",
        "new_classes": "accuracy on turned and inverted 5-9, which no parent saw",
        "old_classes": "accuracy on turned and inverted 0-4, which the domain's parent saw",
        "evaluations": "evaluations that were used",
    },
    rule=AllOf(
        (
            Difference("the layer-wise search beats the best grid merge", "ps_layer", _GRIDS),
            Difference("the layer-wise search beats the best parent", "ps_layer", "best_parent"),
            Difference(
                "it reads turned 5-9 better than every parent",
                "ps_layer",
                _PARENTS,
                metric="new_classes",
                weight="reported",
            ),
            Difference("coefficients per layer help", "ps_layer", "ps_global", weight="reported"),
            Difference("the search beats random recipes", "ps_layer", "random_recipes", weight="reported"),
            Difference(
                "a path through layers beats the best parent", "deep_dfs", "deep_best_parent", weight="reported"
            ),
            Difference("scales along the path help", "deep_dfs", "deep_dfs_unscaled", weight="reported"),
            Difference("merging first, then a path, beats merging", "deep_ps_dfs", "deep_ps", weight="reported"),
            Level("the search overfits its 200 images", "ps_layer", "gap", above=0.0, weight="reported"),
        )
    ),
    preconditions=(
        Level("the ancestor reads upright digits", "ancestor", "upright", above=0.9),
        Level("the skill's parent reads upright digits", "parent_skill", "upright", above=0.9),
        Level("the domain's parent reads turned 0-4", "parent_domain", "old_classes", above=0.8),
    ),
    scales=(
        Scale("small", 5, "5 minutes on 2 cores", {"evaluations": 300}),
        Scale("medium", 20, "an evening on 2 cores", {"evaluations": 1000}),
        Scale(
            "full",
            3,
            "the paper's: three 7B models, about 1,000 trials of PS and 12,800 of DFS on GPUs",
            needs="shisa-gamma-7b, WizardMath-7B, Abel-7B, Mistral-7B and the MGSM and GSM8K questions in Japanese",
        ),
    ),
    first_seed=10,
    pilots=(
        Pilot(
            (0, 1),
            "on another task of the same ancestor (eight experts of one shift, two shifts at once), test accuracy of "
            "seeds 0 and 1: best founder .62 and .60, best grid merge .61 and .64, layer-wise CMA-ES .68 and .685. "
            "It chose the ancestor; this task was not piloted. Seed 1 timed the arms.",
        ),
    ),
)

PAPER = Paper(
    slug="evolutionary_merge",
    family="merging",
    title="Evolutionary Optimization of Model Merging Recipes",
    authors=("Takuya Akiba", "Makoto Shing", "Yujin Tang", "Qi Sun", "David Ha"),
    year=2024,
    id="arXiv 2403.13187",
    sentence=(
        "Evolving how several fine-tuned models are merged, by coefficients per layer and by the path of the data "
        "through their layers, against a small task score gives abilities that cross domains and that no parent has."
    ),
    figures=(
        Figure("MGSM-JA: parents 9.6, 18.4 and 30.0; merged in parameter space 52.0; with data flow 55.6", "table 1"),
        Figure("average of nine Japanese tasks 70.5 against 66.1 of the best parent", "table 2"),
    ),
    reference_code="https://github.com/SakanaAI/evolutionary-model-merge",
    strengths=(
        "needs only scores of merged models",
        "the result is a recipe of a few numbers, readable and repeatable",
        "asks for no data of the parents",
    ),
    avoid_when=(
        "one or two numbers decide, as with few similar parents: a grid is cheaper",
        "fewer than about a hundred labelled examples: hundreds of evaluations overfit them",
        "parents differ in architecture (parameter space) or in hidden size (data flow)",
    ),
    deviations=(
        "multi-layer perceptrons on digits stand for language models; the task is turned and inverted digits",
        "layers are the weight matrices with their biases; embeddings and head have no groups of their own",
        "merges keep the masks of DARE fixed during a search, so that the winner can be rebuilt",
        "input scales of a path are folded into the weights",
        "the start of the search is weight 1/3 and density 1",
        "the card plans five seeds, which could not tell the differences apart: the result has twenty (--seeds 20)",
    ),
    covers=(
        "heredity.merging.evolutionary",
        "heredity.merging.merge_space",
        "heredity.merging.recipe",
        "heredity.merging.data_flow",
        "heredity.merging.path_search",
        "heredity.merging.path_folding",
        "heredity.merging.operators:MergeByRecipe",
        "heredity.merging.operators:FlowThrough",
    ),
    claim=CLAIM,
)
