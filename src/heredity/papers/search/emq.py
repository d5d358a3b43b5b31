"""EMQ: evolving a formula that tells which layers need their bits (arXiv 2307.10554)."""

from __future__ import annotations

from heredity.papers.card import Figure, Paper
from heredity.papers.claim import AllOf, Arm, Claim, Difference, Level, Pilot, Scale, Settings

_EMQ: Settings = {"method": "emq"}
_FREE: Settings = {"method": "emq", "duplicates": True, "proposals": 600}

CLAIM = Claim(
    says=(
        "A formula over layers' weights, gradients, activations and curvature, evolved on networks of two families, "
        "predicts which mixtures of bits keep the accuracy of a third family's better than the hand-made proxy that "
        "one would have chosen on the same networks; and the evolution finds more than random expressions do."
    ),
    setting=(
        "Six networks of eight layers for scikit-learn's digits: plain, residual and depth-wise, of two widths, 8,000 "
        "to 21,000 parameters, ten epochs. 120 vectors of 2, 3 or 4 bits for each; weights rounded after training, "
        "batch norms folded, one range a layer, the head at 8 bits; accuracy on 450 test images. Statistics are from "
        "128 training images, traces of the Hessian from 16 draws of signs. Searches see 50 mixtures of each of the "
        "four networks of two families; fitness is the mean of four Spearman's ρ; a population of 20 and 600 scored "
        "expressions. The seed trains the networks, draws mixtures and search; every family is left out once."
    ),
    trial="heredity.papers.testbeds.proxy_evolution:trial",
    worlds=("plain", "residual", "depthwise"),
    arms=(
        Arm("emq", "evolution with all three devices", "tested", _EMQ),
        Arm(
            "random",
            "the best of as many different random expressions, screened alike",
            "baseline",
            {"method": "random"},
        ),
        Arm(
            "handmade",
            "of seven hand-made proxies, as sums and per weight, the best on what the search sees",
            "baseline",
            {"method": "handmade"},
        ),
        Arm("hawq_trace", "trace of the Hessian times bits", "baseline", {"method": "hawq_trace"}),
        Arm("mean_bits", "mean bits: the size alone", "baseline", {"method": "mean_bits"}),
        Arm("no_dps", "without the newcomer", "ablation", {**_EMQ, "dps": False}),
        Arm("no_csp", "without screening", "ablation", {**_EMQ, "csp": False}),
        Arm("no_osp", "all operations alike", "ablation", {**_EMQ, "osp": False}),
        Arm("free", "duplicates may live, 600 proposals", "ablation", _FREE),
        Arm("free_no_dps", "the same without the newcomer", "ablation", {**_FREE, "dps": False}),
        Arm(
            "linear",
            "regression of accuracy on the bits of each layer, from the same 50 mixtures; what it knows of another "
            "family is the mean of its coefficients",
            "information",
            {"method": "linear"},
        ),
        Arm("oracle", "the hand-made proxy that is best on the left-out family", "information", {"method": "oracle"}),
    ),
    metric="transfer",
    direction="higher",
    metrics={
        "transfer": "mean Spearman's ρ over all mixtures of the two networks of the left-out family",
        "heldout": "the same over the 70 mixtures of each searched network that the search did not see",
        "fitted": "the same over the 50 that it saw",
        "top": "Spearman's ρ among the truly best fifth of the left-out family's mixtures",
        "partial": "ρ of transfer with mean bits held fixed: what is known beyond the size",
        "accuracy": "lowest accuracy of the six networks before rounding",
        "spread": "smallest distance between the quartiles of a network's accuracies",
        "distinct": "different formulas in the population, mean over iterations",
        "scored": "expressions that were evaluated",
        "proposed": "expressions that were proposed",
    },
    rule=AllOf(
        (
            Difference("it transfers better than the hand-made proxy one would choose", "emq", "handmade"),
            Difference("evolution beats random expressions", "emq", "random", metric="heldout"),
            Difference("it transfers better than HAWQ's trace", "emq", "hawq_trace", weight="reported"),
            Difference("it transfers better than random expressions", "emq", "random", weight="reported"),
            Difference("it transfers better than the best hand-made proxy", "emq", "oracle", weight="reported"),
            Difference(
                "it beats a regression on the same mixtures", "emq", "linear", metric="heldout", weight="reported"
            ),
            Difference("it knows more than the size", "emq", "mean_bits", metric="partial", weight="reported"),
            Difference("it also orders the best", "emq", "handmade", metric="top", weight="reported"),
            Difference("newcomers help", "emq", "no_dps", metric="heldout", weight="reported"),
            Difference("screening helps", "emq", "no_csp", metric="heldout", weight="reported"),
            Difference("prioritised operations help", "emq", "no_osp", metric="heldout", weight="reported"),
            Difference(
                "newcomers keep a population diverse", "free", "free_no_dps", metric="distinct", weight="reported"
            ),
        )
    ),
    preconditions=(
        Level("the networks are good", "emq", "accuracy", above=0.96),
        Level("bits matter", "emq", "spread", above=0.05),
    ),
    scales=(
        Scale("small", 8, "5 minutes on 2 cores"),
        Scale("medium", 40, "half an hour on 2 cores"),
        Scale(
            "full",
            3,
            "the paper's: ResNet-18, ResNet-50 and MobileNetV2 on ImageNet",
            needs="ImageNet, its trained networks and a GPU",
        ),
    ),
    first_seed=100,
    pilots=(
        Pilot(
            (),
            "With a range for each channel, three bits cost nothing on digits (.98 at 3, 4 and 8 bits): one range a "
            "layer. Fitted on one network alone a formula transferred no better than HAWQ's trace: now four.",
        ),
        Pilot(
            (),
            "Two of three folds, three searches of the same networks: left-out plain, EMQ .71 and HAWQ's trace .75; "
            "left-out residual, EMQ .67, chosen HAWQ .57, best hand-made .66. Random search over 1,220 expressions "
            "fitted as well as 600 of EMQ (.76). Without the rule against duplicates, 20 members shrank to 1 to 4 "
            "formulas with and without newcomers.",
        ),
        Pilot(
            (1,),
            "timed: 13 s of CPU for six trainings, 11 s for their tables, 1 s a search, which set the number of seeds; "
            "accuracies .98 to .99, quartiles at least .06 apart; valid shares of drawn expressions .70 with and .55 "
            "without prioritised operations. All arms ran once: ρ for left-out plain, residual, depth-wise: EMQ .59, "
            ".80, .76, random expressions .52, .76, .76, chosen by hand .61, .61, .73, HAWQ's trace .65, .41, .52. "
            "Then one thing was changed, so that HAWQ is not weakened by noise: traces of the Hessian from 16 draws of "
            "signs instead of one. All arms once more, means of the three: EMQ .63, random expressions .67, chosen by "
            "hand .65, HAWQ's trace .57, best by hand .77, regression .73.",
        ),
    ),
)

PAPER = Paper(
    slug="emq",
    family="search",
    title="EMQ: Evolving Training-free Proxies for Automated Mixed Precision Quantization",
    authors=("Peijie Dong", "Lujun Li", "Zimian Wei", "Xin Niu", "Zhiliang Tian", "Hengyue Pan"),
    year=2023,
    id="arXiv 2307.10554",
    venue="ICCV 2023",
    sentence=(
        "Evolution over formulas of weights, gradients, activations and curvature finds training-free proxies that "
        "predict the accuracy of mixed-precision networks better than proxies made by hand."
    ),
    figures=(
        Figure(
            "Spearman's ρ of 76 to 79 % against 74.75 % of the best hand-made proxy",
            "main comparison, as quoted in a public reading note",
        ),
        Figure(
            "ResNet-18 at 6.69 MB: 72.31 % top-1 with quantisation-aware training", "as quoted in a public reading note"
        ),
    ),
    reference_code="https://github.com/lilujunai/EMQ-series",
    strengths=(
        "once found, a formula allocates bits in seconds, without evaluating a single quantised network",
        "the formula can be read",
        "screening and hashing make a candidate cost milliseconds",
    ),
    avoid_when=(
        "a few dozen mixtures of the very network can be measured: a linear regression on them predicts the rest",
        "only one network has known accuracies: formulas fitted on one transfer no better than hand-made ones",
    ),
    deviations=(
        "the table of operations is unreleased: 27 unary and 6 binary ones that the text names",
        "sequential and branched formulas; directed acyclic graphs, which the paper found mostly invalid, are left out",
        "no two members compute the same, by their values on a network's layers; without it populations collapse",
        "prioritisation is a fixed table: operations that leave the reals come at a quarter of the others' rate",
        "configurations are drawn without replacement, and reports are on others than the search saw",
        "weights alone are rounded, after training",
    ),
    covers=(
        "heredity.search.emq",
        "heredity.search.expression",
        "heredity.search.mq_proxies",
        "heredity.search.quantbench",
        "heredity.papers.testbeds.proxy_evolution:Predicted",
    ),
    claim=CLAIM,
)
