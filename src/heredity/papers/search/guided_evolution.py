"""LLM Guided Evolution: a language model varies the source code of networks (arXiv 2403.11446)."""

from __future__ import annotations

from heredity.papers.card import Figure, Paper
from heredity.papers.claim import AllOf, Arm, Claim, Difference, Level, Pilot, Scale, Settings

_RULES, _LM = "rules", "language model"
_GUIDED: Settings = {"search": "guided", "p_eot": 0.25}

CLAIM = Claim(
    says=(
        "With 60 evaluations, evolution of source code by a chat model finds a better front of accuracy and size than "
        "random changes of the seed network, and a network that is as accurate as the seed and no larger. Part A "
        "checks the loop: a stand-in that edits by rules takes the language model's place. Part B, with a language "
        "model, is not checked unless one is named."
    ),
    setting=(
        "scikit-learn's digits, divided by seed: 400 training, 400 validation, 997 test images. The seed gene is a "
        "file of four blocks: a full convolution with pooling to 4 × 4, units of depth-wise and point-wise "
        "convolutions with squeeze-and-excitation, the network (24 wide, 5,158 parameters), the recipe (AdamW, rate "
        ".01). An evaluation is 20 epochs of batches of 50 with one cycle of the rate, in the sandbox. The search sees "
        "validation accuracy after one training and −log2 of the parameters; its front is trained anew with three "
        "other seeds and judged on the test images. The stand-in answers the same prompts as a language model would: "
        "it changes one of 15 kinds of places (widths, kernels, activations, rates, …) at random, breaks one answer in "
        "ten, recognises what was changed in the pair that an Evolution of Thought shows and does the like where it "
        "can. First generation 16, then 8 parents; other settings as published. All arms have the same evaluations "
        "and retrainings."
    ),
    trial="heredity.papers.testbeds.guided_search:trial",
    worlds=(_RULES, _LM),
    arms=(
        Arm("guided", "Guided Evolution with a quarter of thoughts", "tested", {**_GUIDED, "checked": True}),
        Arm("no_thought", "Guided Evolution without Evolution of Thought", "ablation", {**_GUIDED, "p_eot": 0.0}),
        Arm(
            "random",
            "changes of the seed gene, one or more at once, without selection",
            "baseline",
            {"search": "random", "p_eot": 0.0},
        ),
        Arm(
            "climb",
            "hill climbing on accuracy among networks of at most the seed's parameters",
            "baseline",
            {"search": "climb", "p_eot": 0.0},
        ),
    ),
    metric="hypervolume",
    direction="higher",
    metrics={
        "hypervolume": (
            "area between the front and (accuracy .8, four times the seed's parameters), in accuracy × halvings of the "
            "parameters; on test images, mean of three retrainings"
        ),
        "seen": "the same as the search saw it, on validation images",
        "gain": (
            "test accuracy of the best found network with at most the seed's parameters less the seed's, means of "
            "three retrainings; −1 without such a network"
        ),
        "front": "members of the front",
        "thoughts": "share of the questions that were Evolutions of Thought, of those that led to evaluated genes",
        "evaluations": "evaluations that were used",
        "failures": "share of them without a result",
        "first_valid": "validation accuracy of the seed gene, mean of four trainings",
        "first_spread": "standard deviation of these",
        "first_seconds": "CPU seconds of one of these evaluations",
    },
    rule=AllOf(
        (
            Difference("A: the loop beats random changes", "guided", "random", world=_RULES),
            Level("A: it finds a network as accurate and no larger", "guided", "gain", above=0.0, world=_RULES),
            Difference("A: the loop beats hill climbing", "guided", "climb", world=_RULES, weight="reported"),
            Difference("A: Evolution of Thought helps", "guided", "no_thought", world=_RULES, weight="reported"),
            Difference("B: a language model beats random changes", "guided", "random", world=_LM, weight="reported"),
            Difference(
                "B: Evolution of Thought helps a language model", "guided", "no_thought", world=_LM, weight="reported"
            ),
        )
    ),
    preconditions=(
        Level("the seed gene reads digits", "guided", "first_valid", above=0.9, world=_RULES),
        Level("training seeds matter little", "guided", "first_spread", below=0.01, world=_RULES),
    ),
    scales=(
        Scale("small", 3, "5 minutes on 2 cores", worlds=(_RULES,)),
        Scale(
            "medium",
            10,
            "half an hour on 2 cores, and a language model that HEREDITY_LM names",
            {"evaluations": 120},
        ),
        Scale(
            "full",
            1,
            "the paper's: ExquisiteNetV2 on CIFAR-10, Mixtral-8x7B, 30 generations",
            needs="CIFAR-10, a server of Mixtral-8x7B-Instruct, GPUs for some hundred trainings",
        ),
    ),
    first_seed=10,
    pilots=(
        Pilot(
            (900, 901),
            "Only the seed gene was trained, with four training seeds on each of two divisions. 24 wide: validation "
            ".953 to .978, standard deviations .0085 and .0075, .53 s of CPU time per evaluation on a busy machine; 16 "
            "wide: .920 to .958, .005 and .016, .45 s. The search was not run. An earlier gene (three such units, 10 "
            "epochs, constant rate) had given .69 to .78.",
        ),
        Pilot(
            (902,),
            "One cell of each arm with 20 evaluations showed that arms run: hypervolumes .418 (guided), .431 (without "
            "thoughts), .393 (random), .400 (climb). Nothing was changed after it.",
        ),
        Pilot(
            (903,),
            "One cell of each arm at full size, of which only times and counts were looked at: 60 to 80 trainings and "
            "29 to 41 s of CPU time per cell.",
        ),
    ),
    clocked=("first_seconds",),
)

PAPER = Paper(
    slug="guided_evolution",
    family="search",
    title="LLM Guided Evolution -- The Automation of Models Advancing Models",
    authors=("Clint Morris", "Michael Jurado", "Jason Zutty"),
    year=2024,
    id="arXiv 2403.11446",
    sentence=(
        "A language model that mutates and crosses the source code of networks inside a multi-objective evolution, and "
        "is shown which of its changes worked, finds more accurate networks of the same size and smaller ones that are "
        "as accurate."
    ),
    figures=(
        Figure("ExquisiteNetV2 on CIFAR-10 from 92.52 % to 93.34 % with the same parameters", "abstract"),
        Figure("93.16 % with 43.1 % fewer parameters; 87.45 % with 39 thousand", "table of variants"),
    ),
    venue="GECCO",
    reference_code="https://github.com/clint-kristopher-morris/llm-guided-evolution",
    strengths=(
        "searches whatever can be written as code, without a hand-made space",
        "several objectives at once, and a front to choose from",
        "every change is a recorded question with its answer: the ancestry of a network can be read",
    ),
    avoid_when=(
        "a space of a few choices can be listed: evolution over it needs no language model",
        "code cannot be run in a sandbox",
        "the model's answers cost more than evaluations",
    ),
    deviations=(
        "selects on validation images and reports on test images after retraining (the released code does all on one "
        "test set)",
        "part A has a stand-in for the language model; the templates are in our words, with the same kinds of voices "
        "and aims",
        "code that cannot be parsed, changes nothing or was proposed before is not evaluated",
        "a child takes its parent's place only when it exists and works (the released code rebinds a local name)",
        "an elite without a change has nothing to show: another template is used",
        "first generation 16, so that 60 evaluations hold about six more; the seed gene is in it (the released code "
        "has changes of it only)",
        "the rules that every prompt ends with are in those of Evolution of Thought and crossover, too",
        "random changes of the seed gene may be several at once: single ones are fewer than the budget",
        "the interval is over divisions of the data; retrainings are averaged",
        "the card plans three seeds, with which the loop beat random changes by .063 [.036, .110], doubted by "
        "Student's interval: the result has ten (--seeds 10), under the same rule, and they do not confirm it",
    ),
    covers=(
        "heredity.search.guided_evolution",
        "heredity.search.code_gene",
        "heredity.search.code_search",
        "heredity.search.prompts",
        "heredity.search.sandbox",
        "heredity.papers.testbeds.guided_search:GuidedSearch",
    ),
    claim=CLAIM,
)
