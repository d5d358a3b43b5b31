"""GENOME and GENOME+: a population of experts that breeds for a new task (arXiv 2503.01155)."""

from __future__ import annotations

from heredity.papers.card import Figure, Paper
from heredity.papers.claim import AllOf, Arm, Claim, Difference, Level, Pilot, Scale, Settings

_PLUS: Settings = {
    "strategy": "population",
    "population": 10,
    "init": "parents",
    "crossover": 0.3,
    "mutate": 0.1,
    "selection": "roulette",
    "succession": True,
}
_OTHERS = ("uniform_soup", "greedy_soup", "model_swarms")

CLAIM = Claim(
    says=(
        "With 200 labelled examples of a new task and the same number of evaluations, GENOME+ finds a better model "
        "than the best expert, soups of the experts and succession alone (Model Swarms), and no worse one than "
        "LoraHub's search of one coefficient per expert."
    ),
    setting=(
        "scikit-learn's digits, divided by seed: 1,000 images train an ancestor (MLP 64-512-512-10, 20 epochs) and "
        "eight experts fine-tuned on one shift each (6 epochs). Four new tasks show two shifts at once, every shift "
        "in one task. A search sees accuracy on 200 images of its task; the other 597 images under the same shifts "
        "are reported. All arms that search use exactly the same number of evaluations."
    ),
    trial="heredity.papers.testbeds.merge_trials:new_task",
    worlds=("rotate-left, darken", "shear, noise", "rotate-right, occlusion", "shift, fog"),
    arms=(
        Arm("genome_plus", "GENOME+: crossover, mutation, succession, roulette selection", "tested", _PLUS),
        Arm(
            "genome",
            "GENOME: crossover and mutation, tournaments of three",
            "tested",
            {**_PLUS, "crossover": 0.8, "selection": "tournament", "succession": False},
        ),
        Arm("best_expert", "the expert with the highest fitness", "baseline", {"strategy": "best_parent"}),
        Arm("uniform_soup", "mean of all experts", "baseline", {"strategy": "uniform_soup"}),
        Arm("greedy_soup", "experts added while the mean gets no worse", "baseline", {"strategy": "greedy_soup"}),
        Arm(
            "lorahub",
            "CMA-ES over one coefficient per expert, of either sign, on differences from the ancestor",
            "baseline",
            {"strategy": "recipe_cma", "method": "task_arithmetic", "granularity": 0, "allow_negative": True},
        ),
        Arm(
            "model_swarms",
            "succession alone: particle swarm optimisation of the experts",
            "baseline",
            {**_PLUS, "crossover": 0.0, "mutate": 0.0},
        ),
        Arm("random_merges", "linear merges with random weights", "baseline", {"strategy": "random_merges"}),
        Arm("no_crossover", "GENOME+ without crossover", "ablation", {**_PLUS, "crossover": 0.0}),
        Arm("no_mutation", "GENOME+ without mutation", "ablation", {**_PLUS, "mutate": 0.0}),
        Arm("no_selection", "GENOME+ with survivors drawn at random", "ablation", {**_PLUS, "selection": "random"}),
        Arm("no_succession", "GENOME+ without succession", "ablation", {**_PLUS, "succession": False}),
        Arm("ancestor", "what the experts descend from", "information", {"strategy": "ancestor_itself"}),
        Arm(
            "fine_tuned",
            "gradients: the best expert trained on 160 of the 200 images, the epoch chosen on 40",
            "information",
            {"strategy": "fine_tune", "epochs": 30, "lr": 5e-4},
        ),
    ),
    metric="accuracy",
    direction="higher",
    metrics={
        "accuracy": "share of the task's 597 test images that are classified correctly",
        "fitness": "the same on the 200 images that the search saw",
        "gap": "fitness less accuracy: what the search overfitted",
        "upright": "accuracy on the test images without shifts",
        "transfer": "mean accuracy on the test images of the three other tasks",
        "evaluations": "evaluations that were used",
    },
    rule=AllOf(
        (
            Difference("GENOME+ beats the best expert", "genome_plus", "best_expert"),
            Difference("GENOME+ beats the soups and Model Swarms", "genome_plus", _OTHERS),
            Difference("GENOME+ is not beaten by LoraHub's CMA-ES", "genome_plus", "lorahub", weight="veto"),
            Difference("GENOME+ beats GENOME", "genome_plus", "genome", weight="reported"),
            Difference("GENOME+ beats random merges", "genome_plus", "random_merges", weight="reported"),
            Difference("crossover helps", "genome_plus", "no_crossover", weight="reported"),
            Difference("mutation helps", "genome_plus", "no_mutation", weight="reported"),
            Difference("selection helps", "genome_plus", "no_selection", weight="reported"),
            Difference("succession helps", "genome_plus", "no_succession", weight="reported"),
            Difference(
                "what it learns transfers to tasks it was not bred for",
                "genome_plus",
                "ancestor",
                metric="transfer",
                weight="reported",
            ),
        )
    ),
    preconditions=(Level("the ancestor reads upright digits", "ancestor", "upright", above=0.9),),
    scales=(
        Scale("small", 5, "5 minutes on 2 cores", {"evaluations": 250}),
        Scale("medium", 20, "an evening on 2 cores", {"evaluations": 1000}),
        Scale(
            "full",
            5,
            "the paper's: ten LoRA experts of gemma-2-2b-it, twelve data sets, one GPU with 24 GB",
            needs="gemma-2-2b-it, its ten released adapters, twelve data sets and a server that scores their answers",
        ),
    ),
    first_seed=10,
    pilots=(
        Pilot(
            (0, 1),
            "with the same experts on eight such tasks pooled, test accuracy of seeds 0 and 1: best founder .62 and "
            ".60, soup .57 and .55, best grid merge .61 and .64, GENOME+ .65 and .61, layer-wise CMA-ES .68 and "
            ".685. It chose ancestor and experts; seed 1 also timed the arms.",
        ),
    ),
)

PAPER = Paper(
    slug="genome",
    family="merging",
    title="Nature-Inspired Population-Based Evolution of Large Language Models",
    authors=(
        "Yiqun Zhang",
        "Peng Ye",
        "Xiaocui Yang",
        "Shi Feng",
        "Shufei Zhang",
        "Lei Bai",
        "Wanli Ouyang",
        "Shuyue Hu",
    ),
    year=2025,
    id="arXiv 2503.01155",
    sentence=(
        "A population of fine-tuned experts that crosses, mutates, is selected and passes on what worked adapts to a "
        "new task from 200 labelled examples, without gradients, better than other ways to merge or adapt them."
    ),
    figures=(Figure("up to +54.8 % over the best expert of the initial population", "abstract"),),
    reference_code="https://github.com/ZhangYiqun018/GENOME",
    strengths=(
        "needs only scores: no gradients, no loss, any model that can be averaged",
        "every generation is a set of independent evaluations",
        "keeps a population, which can vote or go on to another task",
    ),
    avoid_when=(
        "labelled examples and gradients are at hand: fine-tuning on the same examples may serve better",
        "one coefficient per expert is enough: CMA-ES over them was 6 points better in the check",
        "the experts have no common ancestor: their weights do not average",
    ),
    deviations=(
        "full models stand for LoRA adapters in the check; experts see all classes",
        "the population starts from the experts, filled up to ten by merges of two",
        "mutation has probability .1 in GENOME+ too, so that its ablation exists (the published script has 0)",
        "no early stop: every arm uses its evaluations",
        "moved individuals are evaluated again, the step decays once per generation, r is drawn per member and "
        "generation, and elites of before a move stand for selection again (the released code differs)",
        "the vote of the population is not part of the check",
    ),
    covers=(
        "heredity.merging.genome",
        "heredity.merging.births",
        "heredity.merging.breeding",
        "heredity.merging.population",
        "heredity.merging.operators:Crossover",
        "heredity.merging.operators:Mutate",
        "heredity.merging.operators:Succeed",
        "heredity.merging.operators:Ensemble",
    ),
    claim=CLAIM,
)
