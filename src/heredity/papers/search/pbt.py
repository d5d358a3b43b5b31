"""Population based training: hyperparameters that change while models train (arXiv 1711.09846)."""

from __future__ import annotations

from heredity.papers.card import Figure, Paper
from heredity.papers.claim import AllOf, Arm, Claim, Difference, Level, Pilot, Scale

CLAIM = Claim(
    says=(
        "With the same number of gradient steps, a population that copies winners and explores from their "
        "hyperparameters ends with a better model than random search with constant hyperparameters, and finds a "
        "schedule in which the learning rate falls; on the paper's toy, copying is what lets both coordinates move."
    ),
    setting=(
        "Next characters of Python's standard library: the seed draws whole modules, 1,000,000 characters to train, "
        "8,000 to validate and 40,000 to test, never of the same module. One-layer GRU of width 64, rows of 32 "
        "characters in batches of 16, AdamW, 300 updates in 10 rounds; 8 members. Learning rate log-uniform in "
        "[1e-4, 3e-2], weight decay log-uniform in [1e-6, 1], dropout uniform in [0, 0.5], largest norm of the "
        "gradient log-uniform in [0.1, 10]. After each round the worst two copy one of the best two and multiply "
        "every hyperparameter by 0.8 or 1.2. The model of every arm is the one that was best on validation at the "
        "end of any round. A seed's arms share initial weights, hyperparameters and the first round's batches."
    ),
    trial="heredity.papers.testbeds.population_training:trial",
    arms=(
        Arm("pbt", "population based training: weights and hyperparameters are copied", "tested"),
        Arm("random", "random search: the best of 8 constant settings", "baseline", {"exploit": "none"}),
        Arm(
            "random_cosine",
            "random search: the best of 8, each learning rate falling to 0 along half a cosine",
            "baseline",
            {"exploit": "none", "cosine": True},
        ),
        Arm(
            "weights_only", "copies weights, explores from its own hyperparameters", "ablation", {"inherit": "weights"}
        ),
        Arm("hyper_only", "copies hyperparameters, keeps its weights", "ablation", {"inherit": "hyperparameters"}),
        Arm("replay", "one new model trained by the winner's schedule", "information", {"replay": True}),
        Arm("interval_2", "copies every second round", "ablation", {"interval": 2}),
        Arm("interval_4", "copies every fourth round", "ablation", {"interval": 4}),
    ),
    metric="bits",
    direction="lower",
    metrics={
        "bits": "bits per character on the test modules, of the model that is best on validation",
        "valid": "its bits per character on the validation modules, which every arm selects by",
        "trend": "Spearman's correlation of round and learning rate along that model's lineage",
        "copies": "rounds that went on from another member's weights",
        "failures": "rounds without a finite validation loss",
        "toy": "Q of the better of the toy's two workers after 200 updates, with copying or, in random search, without",
    },
    rule=AllOf(
        (
            Difference("better than random search with constants", "pbt", "random"),
            Level("the winner's learning rate falls", "pbt", "trend", below=0.0),
            Level("toy: copying brings both coordinates along", "pbt", "toy", above=1.15),
            Level("toy: without copying one never moves", "random", "toy", below=0.391),
            Difference(
                "strong: better than random search with cosine decay", "pbt", "random_cosine", weight="reported"
            ),
            Difference("better than copying weights alone", "pbt", "weights_only", weight="reported"),
            Difference("better than copying hyperparameters alone", "pbt", "hyper_only", weight="reported"),
            Difference("the schedule alone beats constants", "replay", "random", weight="reported"),
            Difference("the population beats its schedule alone", "pbt", "replay", weight="reported"),
        )
    ),
    preconditions=(Level("the models learn: below 4 bits per character", "random", "bits", below=4.0),),
    scales=(
        Scale(
            "small",
            10,
            "5 minutes on 2 cores",
            arms=("pbt", "random", "random_cosine", "weights_only", "hyper_only", "replay"),
        ),
        Scale(
            "medium",
            10,
            "an evening on 2 cores",
            {"width": 128, "steps": 120, "context": 48, "batch": 32, "members": 20},
        ),
        Scale(
            "full",
            3,
            "the paper's: Atari and DeepMind Lab agents, an English-German Transformer, a DCGAN on CIFAR-10",
            needs="the environments or data sets, and as many accelerators as a population has members",
        ),
    ),
    first_seed=100,
    pilots=(Pilot((900, 901), "Timed rounds of 8 networks of several sizes, 3 and 20 updates; no arm was run."),),
)

PAPER = Paper(
    slug="pbt",
    family="search",
    title="Population Based Training of Neural Networks",
    authors=(
        "Max Jaderberg",
        "Valentin Dalibard",
        "Simon Osindero",
        "Wojciech M. Czarnecki",
        "Jeff Donahue",
        "Ali Razavi",
        "Oriol Vinyals",
        "Tim Green",
        "Iain Dunning",
        "Karen Simonyan",
        "Chrisantha Fernando",
        "Koray Kavukcuoglu",
    ),
    year=2017,
    id="arXiv 1711.09846",
    sentence=(
        "Training a population at once, in which the worst members copy the best ones' weights and perturb their "
        "hyperparameters, finds good schedules of hyperparameters in the time of a single training."
    ),
    figures=(
        Figure("UNREAL on DeepMind Lab: 93 % to 106 % of human performance", "from memory of table 1"),
        Figure("Transformer, English to German: 22.30 to 22.65 BLEU", "from memory of section 4.2"),
        Figure("DCGAN on CIFAR-10: Inception score 6.45 to 6.89", "from memory of section 4.3"),
    ),
    strengths=(
        "costs no more steps and hardly more time than random search with as many models",
        "tunes for a metric that has no gradient, while the model trains",
        "finds schedules, which are data: read them off the lineage and replay them",
    ),
    avoid_when=(
        "there is room for one model only, or for fewer than ten",
        "a hyperparameter shows its worth late: short rounds favour what improves quickly, such as small rates",
        "the metric is noisy and rounds are short: members are copied for their luck",
        "the architecture itself is searched: members must be able to take each other's weights",
    ),
    deviations=(
        "characters of Python source stand for the paper's tasks; metric and loss are the same measure on other text",
        "8 members, where the paper advises 20; the worst two are cut: a fifth of 8 lies between one and two",
        "members of an arm are one stack of tensors; what each computes does not depend on the others",
        "a member that diverged is always replaced, and equals are not copied but in the toy",
        "the bootstrap is over seeds; test modules are drawn anew with every seed",
    ),
    covers=(
        "heredity.search.pbt",
        "heredity.search.pbt_driver",
        "heredity.search.exploit",
        "heredity.search.operators:TrainFor",
        "heredity.search.operators:Founder",
        "heredity.search.operators:Exploit",
        "heredity.search.operators:Explore",
        "heredity.papers.testbeds.population_training:TrainPopulation",
    ),
    claim=CLAIM,
)
