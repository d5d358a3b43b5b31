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
_LORA_OTHERS = ("lora_uniform_soup", "lora_greedy_soup", "lora_model_swarms")
_HUB: Settings = {"strategy": "recipe_cma", "method": "task_arithmetic", "granularity": 0, "allow_negative": True}
_LORA: Settings = {"adapters": True}

CLAIM = Claim(
    says=(
        "With 200 labelled examples of a new task and the same number of evaluations, GENOME+ finds a better model "
        "than the best expert, soups of the experts and succession alone (Model Swarms), and no worse one than "
        "LoraHub's search of one coefficient per expert; with whole models as experts and with low-rank adapters."
    ),
    setting=(
        "scikit-learn's digits, divided by seed: 1,000 images train an ancestor (MLP 64-512-512-10, 20 epochs) and "
        "eight experts fine-tuned on one shift each (6 epochs), as whole models and as adapters of rank 4 on the two "
        "matrices that feed hidden layers, of which the factors are merged. Four new tasks show two shifts at once, "
        "every shift in one task. A search sees accuracy on 200 images of its task; the other 597 images under the "
        "same shifts are reported. All arms that search use exactly the same number of evaluations."
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
            _HUB,
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
        Arm("lora_genome_plus", "GENOME+ on adapters", "tested", {**_PLUS, **_LORA}),
        Arm(
            "lora_genome",
            "GENOME on adapters",
            "tested",
            {**_PLUS, **_LORA, "crossover": 0.8, "selection": "tournament", "succession": False},
        ),
        Arm("lora_best_expert", "the best adapter", "baseline", {"strategy": "best_parent", **_LORA}),
        Arm("lora_uniform_soup", "mean of all adapters", "baseline", {"strategy": "uniform_soup", **_LORA}),
        Arm(
            "lora_greedy_soup",
            "adapters added while the mean gets no worse",
            "baseline",
            {"strategy": "greedy_soup", **_LORA},
        ),
        Arm("lora_lorahub", "CMA-ES over one coefficient per adapter, of either sign", "baseline", {**_HUB, **_LORA}),
        Arm(
            "lora_model_swarms",
            "succession of adapters alone",
            "baseline",
            {**_PLUS, **_LORA, "crossover": 0.0, "mutate": 0.0},
        ),
        Arm(
            "vote",
            "the three fittest of GENOME+'s last population answer by majority",
            "information",
            {**_PLUS, "strategy": "population_vote", "voters": 3},
        ),
        Arm(
            "lora_vote",
            "the same with adapters",
            "information",
            {**_PLUS, **_LORA, "strategy": "population_vote", "voters": 3},
        ),
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
            Difference("with adapters GENOME+ beats the best one", "lora_genome_plus", "lora_best_expert"),
            Difference("with adapters GENOME+ beats the soups and Model Swarms", "lora_genome_plus", _LORA_OTHERS),
            Difference(
                "with adapters GENOME+ is not beaten by LoraHub's CMA-ES",
                "lora_genome_plus",
                "lora_lorahub",
                weight="veto",
            ),
            Difference("a vote of three beats GENOME+'s best", "vote", "genome_plus", weight="reported"),
            Difference(
                "with adapters a vote of three beats the best", "lora_vote", "lora_genome_plus", weight="reported"
            ),
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
    first_seed=20,
    pilots=(
        Pilot(
            (0, 1),
            "with the same experts on eight such tasks pooled, test accuracy of seeds 0 and 1: best founder .62 and "
            ".60, soup .57 and .55, best grid merge .61 and .64, GENOME+ .65 and .61, layer-wise CMA-ES .68 and "
            ".685. It chose ancestor and experts; seed 1 also timed the arms.",
        ),
        Pilot(
            (1,),
            "accuracy of single adapters on images of their own shift, at three learning rates: 5e-3 came close "
            "to fine-tuning whole models (.875 to .96 against .875 to .965). Nothing was merged.",
        ),
        Pilot(
            (10, 11, 12, 13, 14),
            "an earlier run of the card without adapters and votes, with the same rule for whole models: not confirmed "
            "(GENOME+ 2.7 points over the best expert, equal to Model Swarms, 6.0 behind LoraHub's CMA-ES).",
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
        "one coefficient per expert is enough: CMA-ES over them was five points better in the check",
        "the experts have no common ancestor: their weights do not average",
    ),
    deviations=(
        "experts see all classes; the adapters' factors are merged, as the released code does",
        "the population starts from the experts, filled up to ten by merges of two",
        "mutation has probability .1 in GENOME+ too, so that its ablation exists (the published script has 0)",
        "no early stop: every arm uses its evaluations",
        "moved individuals are evaluated again, the step decays once per generation, r is drawn per member and "
        "generation, and elites of before a move stand for selection again (the released code differs)",
        "votes are of three, once the evaluations are used up",
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
