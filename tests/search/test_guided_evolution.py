import json
from itertools import pairwise

import numpy as np
import pytest

from heredity.errors import EvaluationFailed
from heredity.evaluation.outcome import Failed, Ok
from heredity.search.code_gene import MARKER, CodeGene
from heredity.search.code_search import NumberEditor
from heredity.search.guided_evolution import GuidedEvolution, run_gene
from heredity.search.pareto import spea2_select
from heredity.search.prompts import fences
from heredity.search.sandbox import Worker

SOURCE = f"import math\n{MARKER}\na = 3.0\n{MARKER}\nb = 2.0\n{MARKER}\nc = 4.0\n"


def numbers(gene):
    scope = {}
    for block in gene.blocks[1:]:
        name, value = block.split("=")
        scope[name.strip()] = float(value)
    return scope


def worth(gene):
    values = list(numbers(gene).values())
    return -sum((value - 1) ** 2 for value in values), -sum(value * value for value in values)


def rounds(searcher, count):
    for _ in range(count):
        candidates = searcher.ask()
        searcher.tell(candidates, [worth(c.value) for c in candidates])


class Watched(NumberEditor):
    """Remembers every prompt."""

    def __init__(self):
        self.prompts = []

    def reply(self, messages, **settings):
        self.prompts.append(messages[-1]["content"])
        return super().reply(messages, **settings)


class Says:
    """Gives one answer to everything."""

    def __init__(self, text):
        self.text = text

    def reply(self, messages, **settings):
        return self.text


def test_the_first_generation_is_the_seed_and_changes_of_it():
    searcher = GuidedEvolution(SOURCE, NumberEditor(), start=12)
    candidates = searcher.ask()
    assert candidates[0].value.source == SOURCE and 6 <= len(candidates) <= 12
    for candidate in candidates[1:]:
        changed = [a != b for a, b in zip(CodeGene(SOURCE).blocks, candidate.value.blocks, strict=True)]
        assert sum(changed) == 1 and not changed[0]
        assert searcher.births[candidate.id].parents == (0,)


def test_block_0_is_never_chosen_in_a_thousand_questions():
    chat = Watched()
    searcher = GuidedEvolution(SOURCE, chat, start=16)
    while len(chat.prompts) < 1000:
        rounds(searcher, 1)
    assert not any("import math" in prompt for prompt in chat.prompts)
    assert all(birth.source.startswith("import math\n") for birth in searcher.births.values())


@pytest.mark.parametrize("p_eot", [0.0, 1.0])
def test_thoughts_come_as_often_as_wanted_and_never_in_the_first_generation(p_eot):
    searcher = GuidedEvolution(SOURCE, NumberEditor(), start=16, p_eot=p_eot, seed=2)
    rounds(searcher, 1)
    first = {question.kind for birth in searcher.births.values() for question in birth.questions}
    assert "EoT" not in first
    count = len(searcher.births)
    rounds(searcher, 12)
    later = [q for i, birth in searcher.births.items() if i >= count for q in birth.questions if q.kind != "crossover"]
    thoughts = sum(question.kind == "EoT" for question in later)
    # Only an elite that is the seed itself has nothing to show.
    assert thoughts == 0 if p_eot == 0 else thoughts >= 0.8 * len(later)


def test_no_crossover_and_all_mutated_when_probabilities_say_so():
    searcher = GuidedEvolution(SOURCE, NumberEditor(), start=16, p_cx=0.0, p_mut=1.0)
    rounds(searcher, 8)
    assert all(len(birth.questions) == 1 for i, birth in searcher.births.items() if i)
    searcher = GuidedEvolution(SOURCE, NumberEditor(), start=16, p_cx=1.0, p_mut=0.0)
    rounds(searcher, 8)
    children = [birth for birth in searcher.births.values() if len(birth.parents) == 2]
    assert children and all(birth.kinds == ("crossover",) for birth in children)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("I would rather not.", "no closed block"),
        ("```python\ndef f(:\n```", "cannot be parsed"),
        (f"```python\na = 1\n{MARKER}\nb = 2\n```", "between blocks only"),
    ],
)
def test_useless_replies_make_no_candidate_and_the_seed_stays(text, reason):
    searcher = GuidedEvolution(SOURCE, Says(text), start=8)
    (only,) = searcher.ask()
    assert only.value.source == SOURCE
    searcher.tell([only], [worth(only.value)])
    with pytest.raises(EvaluationFailed, match=f"no new usable code in 5 tries.*{reason}"):
        searcher.ask()
    assert [candidate.id for candidate, _ in searcher.members] == [0] and searcher.best[0].value.source == SOURCE
    assert all(reason in question.error for question in searcher.refused)


def test_children_that_fail_are_dropped_and_their_parents_stay():
    searcher = GuidedEvolution(SOURCE, NumberEditor(), start=12)
    rounds(searcher, 1)
    before = searcher.members
    candidates = searcher.ask()
    searcher.tell(candidates, [Failed("broken")] * len(candidates))
    assert searcher.members == before
    rounds(searcher, 1)
    assert not {c.id for c in candidates} & {c.id for c, _ in searcher.members}


def test_a_generation_that_fails_altogether_is_bred_again_five_times():
    searcher = GuidedEvolution(SOURCE, NumberEditor(), start=6)
    for _ in range(4):
        candidates = searcher.ask()
        searcher.tell(candidates, [float("nan")] * len(candidates))
    candidates = searcher.ask()
    with pytest.raises(EvaluationFailed, match="5 generations in a row"):
        searcher.tell(candidates, [float("nan")] * len(candidates))


def test_the_population_is_the_elites_and_what_is_new():
    searcher = GuidedEvolution(SOURCE, NumberEditor(), start=30, elites=5)
    rounds(searcher, 1)
    members = [candidate.id for candidate, _ in searcher.members]
    points = np.array([scores for _, scores in searcher.members])
    elites = {members[int(k)] for k in spea2_select(points, 5)}
    candidates = searcher.ask()
    searcher.tell(candidates, [worth(c.value) for c in candidates])
    assert {c.id for c, _ in searcher.members} == elites | {c.id for c in candidates}


def test_the_front_is_what_nothing_told_dominates():
    searcher = GuidedEvolution(SOURCE, NumberEditor(), start=16)
    rounds(searcher, 6)
    candidates = searcher.ask()
    searcher.tell(candidates[:2], [worth(c.value) for c in candidates[:2]])
    told = {i: worth(CodeGene(b.source)) for i, b in searcher.births.items() if i <= candidates[1].id}
    front = {i for i, a in told.items() if not any(all(np.array(b) >= a) and b != a for b in told.values())}
    assert {candidate.id for candidate, _ in searcher.front} == front


def test_ancestry_leads_from_the_seed_by_recorded_changes():
    searcher = GuidedEvolution(SOURCE, NumberEditor(), start=12, seed=3)
    rounds(searcher, 10)
    path = searcher.ancestry(searcher.best[0].id)
    assert path[0].id == 0 and path[0].source == SOURCE and len(path) > 2
    for parent, child in pairwise(path):
        assert child.parents[0] == parent.id and child.kinds
        block = child.questions[0].block
        shown = fences(child.questions[0].prompt)
        place = 0 if child.questions[0].kind == "crossover" else -1
        assert shown[place] == CodeGene(parent.source).blocks[block]
    assert path[-1].questions[0].model == "number editor"


def test_a_state_is_plain_and_goes_on_without_the_model():
    searcher = GuidedEvolution(SOURCE, NumberEditor(), start=8)
    rounds(searcher, 2)
    out = searcher.ask()
    resumed = GuidedEvolution(SOURCE, Says("never asked"), start=8)
    resumed.load_state_dict(json.loads(json.dumps(searcher.state_dict())))
    assert resumed.ask() == out and resumed.members == searcher.members


def test_without_selection_children_are_changes_of_the_seed():
    searcher = GuidedEvolution(SOURCE, NumberEditor(), start=16, selection=False)
    rounds(searcher, 5)
    births = [birth for i, birth in searcher.births.items() if i]
    assert all(birth.parents == (0,) for birth in births)
    assert {len(birth.questions) for birth in births} > {1, 2}


def test_a_second_question_may_check_the_answer():
    searcher = GuidedEvolution(SOURCE, NumberEditor(), start=8, p_qc=1.0)
    searcher.ask()
    kinds = [birth.kinds for i, birth in searcher.births.items() if i]
    assert all(kind[1:] == ("check",) for kind in kinds)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        ({"population": 6}, "multiple of 4"),
        ({"p_eot": 1.5}, "p_eot"),
        ({"elites": 0}, "elite"),
        ({"templates": []}, "template"),
    ],
)
def test_wrong_settings_are_named(wrong, match):
    with pytest.raises(ValueError, match=match):
        GuidedEvolution(SOURCE, NumberEditor(), **wrong)


def test_a_source_without_blocks_or_syntax_is_refused():
    with pytest.raises(ValueError, match="two blocks"):
        GuidedEvolution("a = 1\n", NumberEditor())
    with pytest.raises(ValueError, match="cannot be parsed"):
        GuidedEvolution(f"a =\n{MARKER}\n", NumberEditor())


@pytest.fixture(scope="module")
def worker(tmp_path_factory):
    folder = tmp_path_factory.mktemp("judges")
    (folder / "a_judge.py").write_text(
        "def judge(module, entry, scale=1):\n"
        "    made = getattr(module, entry)()\n"
        "    return {'accuracy': made.accuracy() * scale, 'smallness': -float(len(made.weights))}\n"
        "def rogue(module, entry):\n    return 'good'\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        with Worker(["a_judge"]) as worker:
            worker.start()
            yield worker


GENE = "class Network:\n    weights = [1, 2, 3]\n    def accuracy(self): return {}\n"


def test_a_gene_is_judged_by_what_it_makes(worker):
    found = run_gene(CodeGene(GENE.format("0.5")), judge="a_judge:judge", arguments=[2], worker=worker)
    assert found.outcome == Ok({"accuracy": 1.0, "smallness": -3.0}) and found.seconds > 0


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (GENE.format("float('nan')"), "JSON"),
        (GENE.format("1 / 0"), "division by zero"),
        ("class Other: pass", "no attribute 'Network'"),
        ("import socket\nsocket.socket()\n" + GENE.format("1"), "not permitted"),
        ("while True: pass", "timed out after 1 s"),
    ],
)
def test_genes_that_fail_are_failures_with_a_reason(worker, code, reason):
    found = run_gene(CodeGene(code), judge="a_judge:judge", timeout_s=1.0, worker=worker)
    assert isinstance(found.outcome, Failed) and reason in found.outcome.reason and found.seconds < 2


def test_a_judge_that_gives_no_numbers_is_a_failure(worker):
    found = run_gene(CodeGene(GENE.format("1")), judge="a_judge:rogue", worker=worker)
    assert found.outcome == Failed("the judge gave no numbers")
