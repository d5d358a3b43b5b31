import re

import pytest

from heredity.errors import EvaluationFailed
from heredity.search.code_evolution import CodeEvolution, SandboxScore
from heredity.search.code_gene import MARKER, CodeGene
from heredity.search.code_search import NumberEditor
from heredity.search.prompts import fences
from heredity.search.sandbox import Worker

SOURCE = f"import math\n{MARKER}\na = 3.0\n{MARKER}\nb = 2.0\n"


def worth(gene):
    return -sum((float(value) - 1) ** 2 for value in re.findall(r"= ([\d.]+)", gene.source))


def rounds(searcher, count):
    for _ in range(count):
        candidates = searcher.ask()
        searcher.tell(candidates, [worth(c.value) for c in candidates])


class Watched(NumberEditor):
    def __init__(self):
        self.prompts = []

    def reply(self, messages, **settings):
        self.prompts.append(messages[-1]["content"])
        return super().reply(messages, **settings)


def test_the_first_program_founds_every_island_and_children_stay_on_theirs():
    searcher = CodeEvolution(SOURCE, NumberEditor(), islands=3, children=2, migration="none", p_rewrite=0.0)
    rounds(searcher, 6)
    islands = searcher.islands
    assert sum(island.births for island in islands) == len(searcher.births)
    for k, island in enumerate(islands):
        assert island.arrivals == 0 and island.births == island.successes >= 6
        assert all(searcher.births[c.id].island == k or c.id == 0 for c, _ in island.members)
        scores = [score for _, score in island.members]
        assert scores == sorted(scores, reverse=True) and 0 in {c.id for c, _ in island.members}
    for birth in searcher.births.values():
        assert not birth.parents or birth.parents[0] == 0 or searcher.births[birth.parents[0]].island == birth.island


def test_an_island_keeps_its_best():
    searcher = CodeEvolution(SOURCE, NumberEditor(), islands=1, children=4, size=3, p_rewrite=0.0)
    rounds(searcher, 8)
    scores = sorted((worth(CodeGene(b.source)) for b in searcher.births.values()), reverse=True)
    assert [score for _, score in searcher.islands[0].members] == pytest.approx(scores[:3])


def test_the_ring_hands_the_best_to_the_next_island():
    searcher = CodeEvolution(SOURCE, NumberEditor(), islands=3, children=2, every=3, migration="ring", p_rewrite=0.0)
    rounds(searcher, 2)
    assert all(island.arrivals == 0 for island in searcher.islands)
    rounds(searcher, 1)
    tops = []
    for k in range(3):  # the best of each island among those born there, before anybody arrived
        born = {i: worth(CodeGene(b.source)) for i, b in searcher.births.items() if b.island == k or i == 0}
        tops.append(max(born, key=lambda i: (born[i], -i)))
    for k, top in enumerate(tops):
        assert top in {c.id for c, _ in searcher.islands[(k + 1) % 3].members}
    assert sum(island.arrivals for island in searcher.islands) >= 1


def test_a_reset_empties_the_worse_half_and_founds_it_by_a_survivor():
    searcher = CodeEvolution(SOURCE, NumberEditor(), islands=4, children=2, every=4, migration="reset", p_rewrite=0.0)
    rounds(searcher, 3)
    tops = [island.members[0][1] for island in searcher.islands]
    rounds(searcher, 1)
    reset = [k for k, island in enumerate(searcher.islands) if island.arrivals]
    assert len(reset) == 2 and all(len(searcher.islands[k].members) == 1 for k in reset)
    kept = {island.members[0][0].id for k, island in enumerate(searcher.islands) if k not in reset}
    assert {searcher.islands[k].members[0][0].id for k in reset} <= kept
    assert max(island.members[0][1] for island in searcher.islands) >= max(tops)


def test_prompts_show_the_task_scored_inspirations_and_the_part_to_change():
    chat = Watched()
    searcher = CodeEvolution(
        SOURCE, chat, task="Make both numbers one.", islands=1, children=2, inspirations=2, p_rewrite=0.0
    )
    rounds(searcher, 6)
    last = chat.prompts[-1]
    shown = fences(last)
    assert last.startswith("Make both numbers one.") and len(shown) == 4  # two inspirations, the parent, its block
    scores = [float(text) for text in re.findall(r"with the score (\S+):", last)]
    known = {round(worth(CodeGene(b.source)), 3) for b in searcher.births.values()}
    assert len(scores) == 3 and {round(score, 3) for score in scores} <= known
    assert shown[3] in CodeGene(shown[2]).blocks[1:]
    assert len({*shown[:3]}) == 3


def test_a_file_without_marks_is_rewritten_whole():
    chat = Watched()
    searcher = CodeEvolution("a = 3.0\n", chat, islands=2, children=1)
    rounds(searcher, 3)
    assert {kind for birth in searcher.births.values() for kind in birth.kinds} == {"rewrite"}
    assert all(MARKER not in prompt for prompt in chat.prompts)


def test_a_rewrite_that_loses_the_marks_is_refused():
    searcher = CodeEvolution(SOURCE, NumberEditor(), islands=1, p_rewrite=1.0)  # the editor drops comments
    (only,) = searcher.ask()
    searcher.tell([only], [worth(only.value)])
    with pytest.raises(EvaluationFailed, match="1 blocks, not 3"):
        searcher.ask()


def test_better_parents_are_drawn_more_often():
    searcher = CodeEvolution(SOURCE, NumberEditor(), islands=1, children=1, size=4, p_rewrite=0.0, seed=1)
    drawn = []
    for _ in range(120):
        members = [c.id for c, _ in searcher.islands[0].members]
        rounds(searcher, 1)
        if len(members) == 4:
            drawn.append(members.index(list(searcher.births.values())[-1].parents[0]))
    # Ranks 1 to 4 of four are drawn in proportions 4 : 3 : 2 : 1.
    assert drawn.count(0) > drawn.count(3) and drawn.count(0) + drawn.count(1) > len(drawn) / 2


@pytest.mark.parametrize("wrong", [{"islands": 0}, {"p_rewrite": 2}, {"migration": "boat"}, {"inspirations": -1}])
def test_wrong_settings_are_named(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        CodeEvolution(SOURCE, NumberEditor(), **wrong)


def test_programs_are_scored_in_the_sandbox():
    """Area under a rectangle x · (4 − x) from a program that holds x; the search is told failures, too."""
    source = f"BEST = 4.0\n{MARKER}\nX = 0.5\n{MARKER}\ndef score():\n    return X * (BEST - X)\n"
    with Worker() as worker:
        score = SandboxScore("score", timeout_s=5.0, worker=worker)
        assert score(CodeGene(source)) == 1.75
        searcher = CodeEvolution(source, NumberEditor(), islands=2, children=1, p_rewrite=0.0, seed=1)
        run = searcher.run(score, 25, direction="maximize")
        assert run.value > 1.75 and run.evaluations == 25
        for body, reason in (
            ("raise KeyError(1)", "KeyError"),
            ("return 'a'", "str, not a number"),
            ("return True", "bool"),
        ):
            with pytest.raises(EvaluationFailed, match=reason):
                score(CodeGene(f"def score():\n    {body}\n"))
