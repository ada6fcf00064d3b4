"""Which lesions are judged, and how alike others rank the layers, with planted drops."""

import pytest
from test_compare import FREE, RISING, made

from lesion.engine.recovery import KNOWN, TRAININGS, parse
from lesion.rates.budget import Budget
from lesion.rates.recommend import recommend
from lesion.results.rankings import standing, untrained
from lesion.results.reading import Reading


@pytest.mark.parametrize(("turned", "said"), [(False, "+1.00"), (True, "−1.00")])
def test_the_correlation_is_said_on_both_sides(tmp_path, turned, said):
    after = {name: 3 * (8 - place if turned else place) for place, name in enumerate(FREE)}
    with made(tmp_path / "s", RISING, after) as study:
        plain, mended = standing(Reading.of(study)), standing(Reading.of(study, recovery="bn"))
        advice = recommend(study, 1.0)
        rates = recommend(study, budget=Budget(macs=0.9))
    said = said.removeprefix("+")
    assert plain == (
        "Judged by lesions as they are cut, for a network that runs like that. Spearman's rank "
        f"correlation of the layers' drops, with those after: bn {said}."
    )
    assert mended == (
        "Judged by lesions after bn, for a network that is mended so before it runs. Spearman's "
        f"rank correlation of the layers' drops, with those one-shot: {said}."
    )
    assert advice.judged == plain and plain in advice.text().splitlines()
    assert rates.guarantee.endswith(plain)


def test_alone_it_says_how_to_get_others(tmp_path):
    with made(tmp_path / "s", RISING, {}) as study:
        said = standing(Reading.of(study))
    assert said.endswith("others hurt (lesion sweep --recover, then --after).")
    assert "Spearman" not in said


def test_lesions_that_were_retrained_are_for_a_network_that_is(tmp_path):
    with made(tmp_path / "s", RISING, RISING, recovery="finetune:20") as study:
        said = standing(Reading.of(study, recovery="finetune:20"))
    assert said.startswith("Judged by lesions after finetune:20, for a network that is retrained.")


def test_what_trains_is_known_by_its_name():
    for word in KNOWN:
        name = f"{word}:20" if word in TRAININGS else word
        assert untrained(name) == (parse(name).training is None)
    assert untrained("reconstruct:512,ridge=0.01,bn") and not untrained("bn,distill:5,share=1")
    assert not untrained("mine.py:recover")
