"""FBNetV3: architectures and training recipes searched together (arXiv 2006.02049)."""

from __future__ import annotations

from heredity.papers.card import Figure, Paper
from heredity.papers.claim import AllOf, Arm, ArmRole, Claim, Difference, Pilot, Scale


def _predict(how: str, about: str, role: ArmRole) -> Arm:
    return Arm(how, about, role, {"kind": "predict", "how": how})


def _search(how: str, about: str, role: ArmRole) -> Arm:
    return Arm(how, about, role, {"kind": "search", "how": how})


CLAIM = Claim(
    says=(
        "A predictor pretrained on FLOPs and parameters ranks unseen candidates better from few labels than one that "
        "is not; a joint search of architectures and recipes ends with a better network than a search of "
        "architectures with one recipe under the same FLOP cap; and architectures rank less alike under different "
        "recipes than under different seeds."
    ),
    setting=(
        "One closed table: 32 convolutional networks (depth 1 to 4, width 4 to 16, growth, a kernel of 1, 3 or 5 per "
        "block, residual sums, pooling, activation) × 12 recipes (optimiser, rate, weight decay, label smoothing, "
        "mixup, dropout, batch, averaged weights), both Sobol samples, trained 6 epochs on 600 of scikit-learn's "
        "digits, validated on 500, tested on 697; 12 networks × 5 recipes a second time. Arms look cells up. "
        "Predictors learn from 10, 20, 40 and 80 cells of 20 networks and rank the 144 cells of the other 12. "
        "Searches may look at 60 cells of the 24 networks under the cap; their pick, the best validated, is trained "
        "again with three new seeds. Rankings are compared on 8 of the 12 networks that were trained twice. The seed "
        "of a cell draws labels, held-out networks, first cells and first weights: intervals speak of this table."
    ),
    trial="heredity.papers.testbeds.recipe_trials:trial",
    arms=(
        _predict("pretrained", "predictor pretrained on 4,096 networks' statistics", "tested"),
        _predict("plain", "the same predictor without pretraining, all layers trained from the start", "baseline"),
        _predict("trees", "gradient-boosted trees on the codes", "baseline"),
        _predict("trees_statistics", "trees that see log FLOPs and parameters, too", "baseline"),
        _predict("ridge", "ridge with a cross-validated penalty on the codes", "baseline"),
        _predict("ridge_statistics", "ridge that sees log FLOPs and parameters, too", "baseline"),
        _predict("flops", "ranking by FLOPs, without labels", "baseline"),
        _search("joint", "NARS: four rounds of 15, pretrained predictor", "tested"),
        _search("joint_plain", "NARS without pretraining", "ablation"),
        _search("arch_only", "the best of 12 recipes on one network, then all networks with it", "baseline"),
        _search("alternating", "the same, then recipes and networks by turns until 60 cells are spent", "baseline"),
        _search("random", "60 random cells", "baseline"),
        _search("everything", "the best validated of all cells under the cap", "information"),
        Arm(
            "ranks_seeds",
            "networks' ranking under one recipe, two seeds",
            "baseline",
            {"kind": "ranks", "how": "seeds"},
        ),
        Arm(
            "ranks_recipes",
            "networks' rankings under two recipes",
            "tested",
            {"kind": "ranks", "how": "recipes"},
        ),
    ),
    metric="score",
    direction="higher",
    metrics={
        "score": (
            "of predictors: mean over 10, 20 and 40 labels of Kendall's τ on held-out cells; of searches: test "
            "accuracy of the pick, trained with three new seeds; of rankings: Kendall's τ between two of them"
        ),
        "tau_10": "Kendall's τ on held-out cells, 10 labels",
        "tau_20": "the same, 20 labels",
        "tau_40": "the same, 40 labels",
        "tau_80": "the same, 80 labels",
        "picked": "the pick's validation accuracy in the table",
        "paid": "cells looked up",
        "epoch": "epochs after which a joint search's first batch correlates .92 with the last",
    },
    rule=AllOf(
        (
            Difference("pretraining helps with up to 40 labels", "pretrained", "plain"),
            Difference("joint search beats architectures alone", "joint", "arch_only"),
            Difference("recipes change ranks more than seeds do", "ranks_seeds", "ranks_recipes"),
            Difference(
                "pretrained beats all that see statistics",
                "pretrained",
                ("trees_statistics", "ridge_statistics", "flops"),
                weight="reported",
            ),
            Difference("pretraining helps with 10 labels", "pretrained", "plain", metric="tau_10", weight="reported"),
            Difference("pretraining helps with 20 labels", "pretrained", "plain", metric="tau_20", weight="reported"),
            Difference("pretraining helps with 40 labels", "pretrained", "plain", metric="tau_40", weight="reported"),
            Difference("pretraining helps with 80 labels", "pretrained", "plain", metric="tau_80", weight="reported"),
            Difference("joint search beats random cells", "joint", "random", weight="reported"),
            Difference("joint search beats turns", "joint", "alternating", weight="reported"),
            Difference("pretraining helps joint search", "joint", "joint_plain", weight="reported"),
            Difference("joint search validates better picks", "joint", "arch_only", metric="picked", weight="reported"),
        )
    ),
    scales=(
        Scale("small", 20, "5 minutes on 2 cores", {"table": 20, "division": 20, "epochs": 6, "evaluations": 60}),
        Scale(
            "full",
            1,
            "the paper's: 192 trainings on a part of ImageNet, inverted residual blocks",
            needs="ImageNet and some hundred GPUs for days",
        ),
    ),
    first_seed=100,
    pilots=(
        Pilot(
            (0,),
            "An earlier build: 90 Sobol candidates, 40 of them twice, 12 architectures × 4 recipes. τ between seeds "
            ".87, of architectures' ranks between recipes .41 to .73. With 10, 20 and 40 labels (20 resamples): plain "
            ".30, .39, .485; pretrained .40, .42, .49; trees with statistics -, .47, .55; ridge with statistics .42, "
            ".47, -; FLOPs alone .44. So pretraining was expected to help least where labels are many, and not to beat "
            "a ridge with statistics.",
        ),
        Pilot(
            (903, 7001),
            "This build on another table (its seed 7001) and division, timed: .07 to .2 s a training, .6 s a "
            "pretraining (R² of both statistics .9995 on unseen networks), .06 to .3 s a fit. Every arm ran once, to "
            "see that it does; no score was looked at.",
        ),
    ),
)

PAPER = Paper(
    slug="fbnetv3",
    family="search",
    title="FBNetV3: Joint Architecture-Recipe Search using Predictor Pretraining",
    authors=(
        "Xiaoliang Dai",
        "Alvin Wan",
        "Peizhao Zhang",
        "Bichen Wu",
        "Zijian He",
        "Zhen Wei",
        "Kan Chen",
        "Yuandong Tian",
        "Matthew Yu",
        "Peter Vajda",
        "Joseph E. Gonzalez",
    ),
    year=2021,
    id="arXiv 2006.02049",
    venue="CVPR 2021",
    sentence=(
        "Searching architectures and training recipes together, with an accuracy predictor that is pretrained on free "
        "architecture statistics and refined in few rounds, finds better networks for any budget than searching "
        "architectures under one recipe."
    ),
    figures=(
        Figure("EfficientNet's and ResNeSt's ImageNet accuracy with up to 2.0 and 7.1 times fewer FLOPs", "abstract"),
        Figure("82.3 % top-1 of FBNetV3-G at 2.0 G multiply-adds, 78.0 % of A at 343 M", "Papers with Code"),
    ),
    strengths=(
        "one predictor serves every budget: a new FLOP cap costs an evolution on the predictor, no training",
        "needs few trainings, and knows sizes of networks before the first",
        "sees that a recipe that is best for one network is not for another",
    ),
    avoid_when=(
        "accuracy hardly depends on size: then its statistics tell nothing",
        "few candidates are left under a budget: try them all",
        "a ridge or boosted trees with FLOPs and parameters as inputs may rank as well: try these first",
    ),
    deviations=(
        "one closed table of small networks on digits stands for the paper's space and ImageNet; trainings have all "
        "their epochs, the epoch that would have ranked the first batch is reported",
        "the first batch is drawn at random from the table, the pick is the best measured: the final evolution on the "
        "predictor has no room in 288 cells",
        "embedding 24, two hidden layers of 128, batches, rates and epochs of pretraining are ours where public text "
        "does not give them; every fit begins from the pretrained weights",
        "the predictor without pretraining trains all layers for all 100 epochs: freezing one that knows nothing would "
        "be a handicap",
        "'at most 40 labels' is the mean of τ at 10, 20 and 40; each is reported",
    ),
    covers=(
        "heredity.search.nars",
        "heredity.search.predictor",
        "heredity.search.joint_space",
        "heredity.search.learning_curves:correlation_epoch",
    ),
    claim=CLAIM,
)
