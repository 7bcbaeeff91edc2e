"""A rival from scratch for each price of the recommended option, by the epochs that it pays for."""

from helpers.synthetic_frames import cell, frame

from kdpipe.analysis import recommendation
from kdpipe.analysis.dataframe import filter_rows, normalize_frame

# 300 operations of its own, 100 of its teacher's answers, and what all before it took.
PRICES = {"train_macs": 300.0, "teacher_macs": 100.0}


def longer(epochs, error, teacher="mid"):
    return cell([error] * 3, "scratch_long", teacher=teacher, epochs=epochs)


def named(ancestors, *others):
    student = cell([9.0] * 3, teacher="mid", ancestor_macs=ancestors, **PRICES)
    known = normalize_frame(frame(cell([10.0] * 3, "scratch"), student, *others))
    rows = filter_rows(known, kind="student")
    actual = recommendation.find_baselines(known, "small", rows, rows)
    return {r.name: r for r in actual if "epochs" in r.name}


def test_the_rivals_of_the_recommended_path_come_first_and_others_say_whose_price_they_are():
    """40 epochs: 40 x (1 + 100/300) with the answers, 40 x (1 + 600/300) for the path."""
    actual = named(500.0, longer(120, 8.0), longer(53, 9.5), longer(80, 9.0, "large"))
    taught, path, other = actual.items()
    assert taught[0].startswith("scratch for 53 epochs, the operations of it and its teacher's")
    assert path[0].startswith("scratch for 120 epochs, the operations of all that is trained along")
    assert other[0] == "scratch for 80 epochs, a price of large as teacher"
    assert [r.errors.tolist() for r in actual.values()] == [[9.5] * 3, [8.0] * 3, [9.0] * 3]


def test_a_price_that_the_study_did_not_pay_is_named_with_its_cure():
    actual = named(500.0, longer(53, 9.5))
    assert [len(rival.errors) for rival in actual.values()] == [3, 0]
    assert list(actual.values())[1].remedy == "write scratch_long: true into the experiment main"


def test_a_path_that_would_take_absurdly_long_says_where_it_is_held():
    _, path = named(29_900.0)
    assert "scratch for 400 epochs" in path
    assert "held at 10 times its epochs where the path pays for 101 times" in path


def test_two_prices_that_are_the_same_are_one_rival():
    (name,) = named(0.0, longer(53, 9.5))
    assert "its teacher's answers = the operations of all" in name
