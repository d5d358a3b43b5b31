"""DisWOT: choosing a student for a teacher before either is trained (arXiv 2303.15678)."""

from __future__ import annotations

from heredity.papers.card import Figure, Paper
from heredity.papers.claim import AllOf, Arm, Claim, Difference, Level, Pilot, Scale

_DECIDING = ("params", "flops", "nwot", "synflow", "snip")

CLAIM = Claim(
    says=(
        "The DisWOT score of untrained students, of the same random stem and head as the untrained teacher, ranks what "
        "the students reach by distillation better than parameters, FLOPs, NWOT, SynFlow and SNIP do."
    ),
    setting=(
        "scikit-learn's digits, 600 training images with stored copies shifted by up to a pixel and with noise of .1, "
        "1,197 test images made alike. Cells of six edges (zero, skip, 1×1 and 3×3 convolution, 3×3 average) in "
        "networks of 16 channels with a pooling before each cell: the teacher has three cells of 3×3 convolutions and "
        "40 epochs, the students two cells and 20 epochs (AdamW, one cycle up to 1e-2, batches of 50, T = 4, α = .9). "
        "32 students with at least two convolutions on their paths, one of them 3×3; truth is the mean test accuracy "
        "of three distillations, and of two trainings on labels alone. Scores are means over eight repeats, each with "
        "64 images and an initialisation of its own. A seed stands for two of the 32 students: its value is their "
        "pseudo-value of Kendall's τ by the jackknife, so that the interval over seeds is one over architectures."
    ),
    trial="heredity.papers.testbeds.student_ranking:trial",
    arms=(
        Arm(
            "diswot_shared",
            "both terms; the student starts from the teacher's random stem and head",
            "tested",
            {"scorer": "diswot_shared", "search": True},
        ),
        Arm(
            "diswot_independent",
            "both terms; student and teacher drawn independently, as published",
            "tested",
            {"scorer": "diswot_independent"},
        ),
        Arm("semantic_shared", "semantic term", "ablation", {"scorer": "diswot_shared", "term": "semantic"}),
        Arm("relation_shared", "relation term", "ablation", {"scorer": "diswot_shared", "term": "relation"}),
        Arm(
            "semantic_independent",
            "semantic term, drawn independently",
            "ablation",
            {"scorer": "diswot_independent", "term": "semantic"},
        ),
        Arm(
            "relation_independent",
            "relation term, drawn independently",
            "ablation",
            {"scorer": "diswot_independent", "term": "relation"},
        ),
        Arm("params", "number of parameters", "baseline", {"scorer": "params"}),
        Arm("flops", "floating-point operations", "baseline", {"scorer": "flops"}),
        Arm("nwot", "NWOT: activation patterns", "baseline", {"scorer": "nwot"}),
        Arm("synflow", "SynFlow", "baseline", {"scorer": "synflow"}),
        Arm("snip", "SNIP", "baseline", {"scorer": "snip"}),
        Arm("grad_norm", "norms of gradients", "baseline", {"scorer": "grad_norm"}),
        Arm("zen", "Zen score", "baseline", {"scorer": "zen"}),
        Arm("random", "random numbers; the student is drawn", "baseline", {"scorer": "random", "search": True}),
        Arm(
            "best_baseline",
            "of the five in the rule, the one that ranks these students best",
            "information",
            {"scorer": "best_baseline", "search": True},
        ),
        Arm("kd", "one distillation ranked by another", "information", {"scorer": "kd"}),
        Arm("ce", "one training on labels ranked by another", "information", {"scorer": "ce"}),
        Arm("across", "a distillation ranked by a training on labels", "information", {"scorer": "across"}),
    ),
    metric="tau",
    direction="higher",
    metrics={
        "tau": "pseudo-value of Kendall's τ with the mean accuracy of three distillations",
        "tau_within": "the same among students of equally many 3×3 convolutions",
        "chosen": "test accuracy of the student found by regularised evolution with 60 scorings, distilled once",
        "speed": "CPU time of one distillation over that of one scoring",
        "median": "median over the students of their mean accuracy after distillation",
        "teacher": "the teacher's test accuracy",
    },
    rule=AllOf(
        (
            Difference("DisWOT ranks students better than each baseline", "diswot_shared", _DECIDING),
            Difference(
                "also among students of equally many 3×3 convolutions",
                "diswot_shared",
                _DECIDING,
                metric="tau_within",
                weight="reported",
            ),
            Level("a score takes 180 times less than a training", "diswot_shared", "speed", above=180.0),
            Difference("sharing stem and head helps", "diswot_shared", "diswot_independent", weight="reported"),
            Difference("two terms beat the semantic one", "diswot_shared", "semantic_shared", weight="reported"),
            Difference(
                "its choice beats the best baseline's",
                "diswot_shared",
                "best_baseline",
                metric="chosen",
                weight="reported",
            ),
            Difference(
                "its choice beats a student drawn at random",
                "diswot_shared",
                "random",
                metric="chosen",
                weight="reported",
            ),
            Difference("distilling orders students otherwise than labels do", "kd", "across", weight="reported"),
        )
    ),
    preconditions=(
        Level("the teacher is good", "kd", "teacher", above=0.95),
        Level("most students can be trained", "kd", "median", above=0.9),
        Level("trainings repeat their order", "kd", "tau", above=0.6),
    ),
    scales=(
        Scale("small", 16, "5 minutes on 2 cores", {"pool": 100, "architectures": 32, "block": 2}),
        Scale("medium", 64, "half an hour on 2 cores", {"pool": 100, "architectures": 128, "block": 2}),
        Scale(
            "full",
            3,
            "the paper's: NAS-Bench-201 students of a ResNet-110 on CIFAR-100, 240 epochs",
            needs="CIFAR-100, a trained ResNet-110 and a GPU for days",
        ),
    ),
    first_seed=100,
    pilots=(
        Pilot(
            (),
            "24 students without the early pooling, 8 epochs: teacher .935, students .15 to .84 and worse with the "
            "teacher than without: the truth was what can be trained at all, and the set-up was changed.",
        ),
        Pilot(
            (),
            "22 students, two trainings each way: distilled .59 to .95, median .933, τ between single distillations "
            ".72; τ with the truth: semantic .13, relation .38, both .13 when drawn independently; with stem and head "
            "shared .46 and .47; FLOPs .47, NWOT .43, SynFlow .52, SNIP .56; among students of equally many 3×3 "
            "convolutions DisWOT .39, FLOPs .26, SynFlow .56.",
        ),
        Pilot(
            (1, 5),
            "timed, and every arm run on four architectures, too few to rank: .7 s of CPU a training, 17 ms a DisWOT "
            "score, 7 ms another; teachers .968 and .960, students .93 to .96.",
        ),
    ),
    clocked=("speed",),
)

PAPER = Paper(
    slug="diswot",
    family="search",
    title="DisWOT: Student Architecture Search for Distillation WithOut Training",
    authors=("Peijie Dong", "Lujun Li", "Zimian Wei"),
    year=2023,
    id="arXiv 2303.15678",
    venue="CVPR 2023",
    sentence=(
        "The student that distillation will serve best can be chosen before any training, by how alike an untrained "
        "student and an untrained teacher see a batch: in what their heads attend to and in how samples relate."
    ),
    figures=(Figure("at least 180 times faster than search with training", "abstract"),),
    reference_code="https://github.com/lilujunai/DisWOT-CVPR2023",
    strengths=(
        "a score takes one backward pass through the head and no training",
        "sees the teacher: the same students are ranked anew for another one",
        "the two metrics serve as distillation losses, too",
    ),
    avoid_when=(
        "students and teacher have neither channels of the head nor a random start in common: the semantic term then "
        "compares unrelated coordinates",
        "there are no norm layers: the published initialisation explodes",
        "size alone ranks the students: parameters and FLOPs are free",
    ),
    deviations=(
        "student and teacher also start from one random stem and head, which the paper does not do; the independent "
        "draw is an arm",
        "the winner of a tournament is the parent; the released search draws among the worst five of its sample",
        "heads of different widths are compared by class, which the paper leaves open",
        "the speed is held to the paper's 180, though trainings have 240 steps here; a first run only reported it",
        "in distillation losses the semantic metric is that of feature maps (ICKD), as in the released distillers",
        "digits and a small cell stand for CIFAR-100 and NAS-Bench-201",
    ),
    covers=(
        "heredity.search.diswot",
        "heredity.papers.testbeds.student_ranking:Scores",
        "heredity.papers.testbeds.student_ranking:Chosen",
    ),
    claim=CLAIM,
)
