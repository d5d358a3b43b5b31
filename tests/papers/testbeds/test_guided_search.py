import json

import numpy as np
import pytest
import torch

from heredity.evaluation.outcome import Failed, Ok
from heredity.lab import Lab
from heredity.language.access import EndpointChat
from heredity.papers.claim import Cell
from heredity.papers.errors import ClaimError
from heredity.papers.testbeds import guided_search
from heredity.papers.testbeds.gene_nets import seed_gene
from heredity.papers.testbeds.guided_search import CodeClimb, GuidedSearch, area, judged, trial
from heredity.papers.testbeds.language_models import language_model
from heredity.papers.testbeds.rule_editor import RuleEditor
from heredity.search.code_gene import CodeGene

SEED = CodeGene(seed_gene())


@pytest.mark.slow
def test_genes_are_trained_and_counted_and_broken_ones_fail():
    outcome = judged(SEED, 950, 1)
    assert isinstance(outcome, Ok) and outcome["parameters"] == 5158 and outcome["valid"] > 0.9 < outcome["test"]
    guided_search._MEMORY.pop((SEED.key, 950, 1))
    again = judged(SEED, 950, 1)
    assert (again["valid"], again["test"]) == (outcome["valid"], outcome["test"])
    assert judged(SEED, 951, 1)["test"] != outcome["test"]
    broken = judged(SEED.replace(3, "Network = 1 / 0"), 950, 1)
    assert isinstance(broken, Failed) and "division by zero" in broken.reason
    wrong = judged(SEED.replace(3, SEED.blocks[3].replace("hidden_width, 10", "hidden_width, 9")), 950, 1)
    assert isinstance(wrong, Failed)


@pytest.mark.slow
def test_a_search_is_repeatable_and_records_its_questions(tmp_path):
    operator = GuidedSearch(950, evaluations=8, start=4, population=4)
    with Lab(tmp_path / "a") as a, Lab(tmp_path / "b") as b:
        first, second = a.derive(operator, seed=950), b.derive(operator, seed=950)
        assert first.notes == second.notes and first.notes["evaluations"] == 8
        weights = first.weights()
        assert torch.equal(weights["points"], second.weights()["points"])
        record = json.loads(bytes(weights["record"].tolist()))
    assert record[0]["source"] == seed_gene() and all(birth["questions"] for birth in record[1:])
    points = weights["points"]
    assert points.shape[1:] == (3, 2) and ((points[..., 0] > 0) & (points[..., 0] < 1)).all()
    areas = [area(points[:, k].tolist()) for k in range(3)]
    assert first.notes["hypervolume"] == pytest.approx(float(np.mean(areas)))


def test_the_area_is_that_of_a_rectangle_and_of_a_staircase():
    assert area([(0.9, 0.0)]) == pytest.approx(0.1 * 2)  # accuracy above .8, by two halvings above a quarter
    assert area([(0.9, 0.0), (0.85, 1.0), (0.7, 9.0)]) == pytest.approx(0.1 * 2 + 0.05 * 1)
    assert area([]) == 0.0


def climb(values):
    """Tell a climb what each asked gene is worth, in turn; ids of what it stands on."""
    searcher = CodeClimb(seed_gene(), RuleEditor(), 8, 1)
    stands = []
    for value in values:
        (candidate,) = searcher.ask()
        searcher.tell([candidate], [value])
        stands.append(next(c.id for c, _ in searcher.members))
    return searcher, stands


def test_a_climb_keeps_what_is_as_accurate_and_no_larger_than_the_seed():
    worth = [(0.9, 0.0), (0.95, -1.0), (0.89, 2.0), (0.9, 0.5), (0.99, 0.0), Failed("broken"), (0.98, 3.0)]
    searcher, stands = climb(worth)
    assert stands == [0, 0, 0, 3, 4, 4, 4]
    assert searcher.births[4].parents == (3,) and searcher.births[5].parents == (4,)


def test_settings_of_the_arm_are_fields_and_only_the_checked_arm_trains_the_seed_more_often():
    steps = trial(Cell("guided", "rules", 7, {"search": "guided", "p_eot": 0.25, "checked": True}))
    with pytest.raises(StopIteration) as end:
        next(steps)
    found = end.value.value
    assert found.request.operator == GuidedSearch(7, p_eot=0.25, checked=True) and "first_valid" in found.notes


def test_without_a_language_model_its_part_says_that_it_is_not_checked(monkeypatch):
    monkeypatch.delenv("HEREDITY_LM", raising=False)
    with pytest.raises(ClaimError, match="not checked: pass --lm"):
        next(trial(Cell("guided", "language model", 7, {"search": "guided"})))


def test_a_named_language_model_is_reached_and_recorded_by_name_only(monkeypatch):
    monkeypatch.setenv("HEREDITY_LM", "http://localhost:9/v1#tiny")
    monkeypatch.setenv("HEREDITY_LM_KEY", "secret")
    chat = language_model()
    assert isinstance(chat, EndpointChat) and chat.model == "tiny" and chat.api_key_env == "HEREDITY_LM_KEY"
    with pytest.raises(StopIteration) as end:
        next(trial(Cell("guided", "language model", 7, {"search": "guided"})))
    assert end.value.value.request.operator.chat == "lm:tiny"
