import pytest

from heredity.search.rounds import Round


def test_a_generation_from_its_begin_to_its_end():
    round_ = Round()
    assert not round_.whole and round_.take(3) == [] and round_.out == set()
    round_.begin(4)
    assert round_.whole
    assert round_.take(0) == round_.take(-2) == []
    assert round_.take(3) == [0, 1, 2]
    assert not round_.whole
    assert round_.out == {0, 1, 2}
    assert not round_.note({2: 5.0, 0: None})
    assert round_.out == {1}
    assert round_.take(None) == [3]
    assert round_.note({1: 1.0, 3: 3.0})
    assert round_.in_order() == [None, 1.0, 5.0, 3.0]
    round_.end()
    assert (round_.first, round_.size, round_.told) == (4, 0, {})
    round_.begin(2)
    round_.take(1)
    assert round_.out == {4}


def test_whoever_was_out_is_asked_again_after_loading():
    round_, again = Round(), Round()
    for _ in range(2):
        round_.begin(3)
        round_.take(2)
        round_.note({round_.first: 1.0, round_.first + 1: None})
        begun = []

        def begin(begun=begun):
            begun.append(again.first)
            again.begin(3)

        again.load(round_.state(), begin, lambda value: value + 1)
        assert begun == [round_.first]
        assert again.told == {0: 2.0, 1: None}  # failures are not read
        assert again.take(None) == [2]
        assert again.whole is False
        round_.end()
    again.load(round_.state(), lambda: pytest.fail("no generation is out"))
    assert again.take(None) == [] and (again.first, again.size) == (6, 0)


@pytest.mark.parametrize("told", [{0: 1.0}, {}])
def test_nothing_is_complete_between_generations(told):
    assert not Round().note(told)
