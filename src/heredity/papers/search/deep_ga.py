"""Deep GA, novelty search and seed chains (arXiv 1712.06567)."""

from __future__ import annotations

from heredity.papers.card import Figure, Paper
from heredity.papers.claim import AllOf, AnyOf, Arm, Claim, Difference, Level, Pilot, Scale, Settings

_SIZES: Settings = {
    "population": 100,
    "truncation": 10,
    "power": 0.05,
    "candidates": 5,
    "recheck": 5,
    "sigma": 0.1,
    "lr": 0.05,
    "maze_sigma": 0.1,
    "maze_lr": 0.05,
    "maze_generations": 80,
}


def _reported(name: str, tested: str, against: str, metric: str | None = None, world: str = "control") -> Difference:
    return Difference(name, tested, against, metric=metric, world=world, weight="reported")


CLAIM = Claim(
    says=(
        "A mutation-only genetic algorithm beats random search on two control tasks and on at least one of them is "
        "not beaten by OpenES and PPO; in a deceptive maze novelty search comes nearer to the goal than selection by "
        "reward and random search do; and a champion's seed chain decodes to the same bits in another process, at "
        "less than a thousandth of the size of the paper's network."
    ),
    setting=(
        "World control: CartPole-v1 and Acrobot-v1, policies 32-32 with tanh, 100,000 and 200,000 environment "
        "steps for every method (rechecks count; a batch runs only when it fits), the mean over both tasks of the "
        "return in 50 new episodes as a share of 500 steps. GA: population 100, truncation 10, power .05, 5 "
        "candidates for elite with 5 extra episodes each. Random search draws roots and chooses its elite alike. "
        "OpenES: 50 pairs, sigma .1, Adam .05, centered ranks, from a root like the GA's. PPO: stable-baselines3 "
        "with the settings of RL Baselines3 Zoo, but for Acrobot's normalisation; in the maze it has 200,000 steps "
        "of 8 million. World maze: the hard maze of 400 steps, policies 11-16-2, population 250, truncation 20, "
        "power .1, output deviation 1, at most 80 generations, over as soon as somebody ends within 10 of the "
        "goal; no extra episodes, since all are alike; the score is the share of the start's distance that the "
        "nearest of all members has made good. Novelty: final place, 25 neighbours, archived with probability .01; "
        "in control the final state."
    ),
    trial="heredity.papers.testbeds.policy_search:trial",
    worlds=("control", "maze"),
    arms=(
        Arm("ga", "the genetic algorithm on reward", "tested", {"method": "ga"}),
        Arm("ga_ns", "the same on novelty alone", "tested", {"method": "novelty"}),
        Arm("random", "random search: roots, and the same choice of an elite", "baseline", {"method": "random"}),
        Arm("es", "OpenES: centered ranks, Adam", "baseline", {"method": "es"}),
        Arm("ppo", "PPO of stable-baselines3", "baseline", {"method": "ppo"}),
    ),
    metric="score",
    direction="higher",
    metrics={
        "score": "control: mean of the tasks' normalised test returns; maze: 1 − nearest / distance at the start",
        "cartpole": "mean return of the champion in 50 new episodes / 500",
        "acrobot": "(mean return of the champion in 50 new episodes + 500) / 500",
        "lunarlander": "(mean return of the champion in 50 new episodes + 200) / 400",
        "nearest": "least distance from the goal at the end of an episode, over all members",
        "solved": "whether that is below 10",
        "steps": "environment steps used, a mean over tasks",
        "identical": "whether another process decodes the champions' chains to the same bits",
        "compression": "bytes of the paper's Atari network in float32 / bytes of a chain of 50 mutations",
        "size": "its inverse",
    },
    rule=AllOf(
        (
            Difference("the GA beats random search in control", "ga", "random", world="control"),
            AnyOf(
                (
                    Difference(
                        "CartPole: the GA is not beaten by ES and PPO",
                        "ga",
                        ("es", "ppo"),
                        metric="cartpole",
                        world="control",
                        weight="veto",
                    ),
                    Difference(
                        "Acrobot: the GA is not beaten by ES and PPO",
                        "ga",
                        ("es", "ppo"),
                        metric="acrobot",
                        world="control",
                        weight="veto",
                    ),
                )
            ),
            Difference("novelty comes nearer to the maze's goal", "ga_ns", ("ga", "random"), world="maze"),
            Level("chains decode alike in another process", "ga", "identical", above=0.999, world="control"),
            Level("a chain is a thousandth of its network", "ga", "size", below=0.001, world="control"),
            _reported("novelty solves the maze more often than the GA", "ga_ns", "ga", "solved", "maze"),
            _reported("novelty comes nearer than ES", "ga_ns", "es", None, "maze"),
            _reported("novelty comes nearer than PPO with fewer steps", "ga_ns", "ppo", None, "maze"),
            _reported("CartPole: random search does as well as ES", "random", "es", "cartpole"),
            _reported("Acrobot: random search does as well as ES", "random", "es", "acrobot"),
            _reported("reward beats novelty in control", "ga", "ga_ns"),
        )
    ),
    preconditions=(
        Level("PPO learns CartPole", "ppo", "cartpole", above=0.8, world="control"),
        Level("PPO learns Acrobot", "ppo", "acrobot", above=0.7, world="control"),
    ),
    scales=(
        Scale(
            "small",
            5,
            "5 minutes on 2 cores",
            {
                **_SIZES,
                "tasks": ("CartPole-v1", "Acrobot-v1"),
                "budgets": (100_000, 200_000),
                "maze_ppo_steps": 200_000,
            },
        ),
        Scale(
            "medium",
            10,
            "two hours on 2 cores; LunarLander needs gymnasium[box2d]",
            {
                **_SIZES,
                "tasks": ("CartPole-v1", "Acrobot-v1", "LunarLander-v3"),
                "budgets": (300_000, 1_000_000, 2_000_000),
                "maze_generations": 300,
                "maze_ppo_steps": None,
            },
        ),
        Scale(
            "full",
            5,
            "the paper's: 13 Atari games, a billion frames each, population 1,000",
            needs="a cluster of some hundred cores, or days on one machine, for each game and seed",
        ),
    ),
    first_seed=10,
    correction="none",
    pilots=(
        Pilot(
            (900, 901),
            "Timed every method, from which the budgets were fixed. OpenES was tried with (sigma, lr) of (.05, .02), "
            "(.1, .05), (.2, .05) and (.2, .1): Acrobot with 300,000 steps −94, −84, −84, −83 and −85, −80, −81, −82, "
            "CartPole with 100,000 steps 401, 300, 126, 232 and 483, 495, 271, 218; the second was taken. With 150,000 "
            "and 300,000 steps the GA had CartPole 500 and 500, Acrobot −90 and −106, random search 499 and 500, −83 "
            "and −113. PPO had 500 and 500 with 100,000 steps, −85 and −86 with 300,000. In the maze novelty ended at "
            "8.4 after 8 generations in one seed and was at 39.0 after 30 in the other; the GA was at 39.0 and 38.9, "
            "random search at 39.1 and 39.1, ES at 38.9 (one seed), PPO at 40.1 with 100,000 steps (one seed).",
        ),
        Pilot(
            (0, 1, 2),
            "Another program with the maze's set-up: novelty solved two of three seeds within 60 generations, at 13 "
            "and 31; selection by reward and random search stayed at 38.9 to 39.0.",
        ),
    ),
)

PAPER = Paper(
    slug="deep_ga",
    family="search",
    title=(
        "Deep Neuroevolution: Genetic Algorithms Are a Competitive Alternative for Training Deep Neural Networks for "
        "Reinforcement Learning"
    ),
    authors=(
        "Felipe Petroski Such",
        "Vashisht Madhavan",
        "Edoardo Conti",
        "Joel Lehman",
        "Kenneth O. Stanley",
        "Jeff Clune",
    ),
    year=2017,
    id="arXiv 1712.06567",
    sentence=(
        "A simple genetic algorithm without gradients or crossover trains networks of millions of parameters for "
        "reinforcement learning, competitively with DQN, A3C and evolution strategies, and its genomes are lists of "
        "random seeds."
    ),
    figures=(
        Figure("networks with over four million free parameters", "abstract"),
        Figure("an encoding up to 10,000-fold more compact", "abstract"),
        Figure("Atari in about 4 hours on one desktop, or 1 hour on 720 cores", "abstract"),
    ),
    reference_code="https://github.com/uber-research/deep-neuroevolution",
    strengths=(
        "needs a score alone: no gradients, no differentiable policy, no value function",
        "a generation is a set of independent evaluations, and a member travels as a few hundred bytes",
        "one changed word, novelty for reward, and it leaves deceptive dead ends",
        "the elite is chosen on fresh episodes, so that its score is no lucky draw",
    ),
    avoid_when=(
        "steps are dear and gradients at hand: on smooth tasks PPO needs fewer",
        "random search solves the task already, as CartPole: then try that first",
        "the behaviour that novelty should spread cannot be named",
        "parameters differ in scale: the mutation power is one absolute number",
    ),
    deviations=(
        "three small tasks stand for Atari, locomotion and the Image Hard Maze; the maze is seen by range finders and "
        "radar, not as an image",
        "noise is 16 bits of Philox that pick a quantile of the normal distribution, in place of slices of a table of "
        "250 million values; the table is an option",
        "seeds of rechecks are evaluations of their own within ask and tell",
        "candidates for elite that failed in some of their extra episodes stand behind those that did not",
        "in novelty search the most novel member stays a parent with its novelty measured anew",
        "PPO and the choice of tasks are ours; PPO has fewer steps in the maze at small scale and is reported only",
    ),
    covers=(
        "heredity.search.deep_ga",
        "heredity.search.deep_ga_schedules",
        "heredity.search.novelty",
        "heredity.search.seedchain",
        "heredity.search.seed_noise",
        "heredity.search.operators:SeedRoot",
        "heredity.search.operators:SeedMutation",
        "heredity.environments.maze_world",
        "heredity.papers.testbeds.policy_search:PolicySearch",
    ),
    claim=CLAIM,
)
