"""Sequential verdicts: nothing but a cell's own past matters, and the end is exact."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lesion.errors import LesionError
from lesion.sequential import (
    Question,
    Stratified,
    Uniform,
    Verdict,
    decide,
    intervals,
    open_cells,
    stratified,
    uniform,
)

GUARANTEE = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "guarantee.py"))


def subject(seed, images, cells=6):
    rng = np.random.default_rng(seed)
    margin = rng.normal(2, 2, images)
    after = margin + rng.uniform(0, 2, cells)[:, None] * rng.normal(size=(cells, images))
    return (margin > 0).astype(float), margin, (after > 0).astype(float)


def process_of(kind, question, cells):
    if kind == "stratified":
        return Stratified(question, [3, 3, 5, 5, 8, 9, 10][:cells], least=10)
    return Uniform(question, cells, least=10)


def update(process, cells, scores):
    places = process.choose(cells)
    process.update(cells, [scores[c, p] for c, p in zip(cells, places, strict=True)])


@pytest.mark.parametrize("kind", ["stratified", "uniform"])
@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 10**6),
    st.lists(st.lists(st.integers(0, 5), min_size=1, unique=True), max_size=25),
)
def test_cells_are_the_same_bit_for_bit_in_whatever_order_they_are_updated(kind, seed, groups):
    base, margin, scores = subject(seed, 150)
    question = Question(0.05, base, margin, hits=True)
    apart = process_of(kind, question, 6)
    for cells in groups:
        update(apart, cells, scores)
    rounds = [sum(cell in cells for cells in groups) for cell in range(6)]
    together = process_of(kind, question, 6)
    for number in range(max(rounds, default=0)):
        update(together, [c for c in range(6) if rounds[c] > number], scores)
    for name in ("seen", "total", "wealth", "log_e"):
        assert getattr(apart, name).tobytes() == getattr(together, name).tobytes()
    assert apart.verdicts(0.05) == together.verdicts(0.05)
    first, second = (intervals(process, np.arange(6), 0.05) for process in (apart, together))
    assert np.array(first).tobytes() == np.array(second).tobytes()
    for a, b in zip(apart.choose(range(6)), together.choose(range(6)), strict=True):
        assert a.tolist() == b.tolist()


@pytest.mark.parametrize("kind", ["stratified", "uniform"])
@settings(max_examples=30, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 80), st.floats(0.005, 0.6), st.booleans(), st.booleans()
)
def test_at_the_end_the_verdict_is_the_truth(kind, seed, images, tolerance, hits, ties):
    rng = np.random.default_rng(seed)
    base = (rng.random(images) < rng.choice([0, 0.5, 0.9, 1])).astype(float)
    margin = rng.normal(size=images) * (0 if ties else 1)
    scores = rng.random((4, images)) * rng.random((4, 1)) + base * rng.choice([0, 0.7], (4, 1))
    scores = (scores > 0.5).astype(float) if hits else np.clip(scores, 0, 1)
    process = process_of(kind, Question(tolerance, base, margin, hits=hits), 4)
    while (process.seen < images).any():
        update(process, range(4), scores)
        assert not np.isnan(process.log_e).any()
        assert not np.isnan(process.wealth).any()
    drops = (base - scores).sum(1)
    safe = drops <= tolerance * images + 1e-9 * images
    assert [verdict is Verdict.SAFE for verdict in process.verdicts(0.05)] == safe.tolist()
    assert Verdict.UNDECIDED not in process.verdicts(1e-12)
    assert [len(places) for places in process.choose(range(4))] == [0] * 4
    assert open_cells(process, 0.05) == []


def test_scores_between_0_and_1_are_judged_in_the_studys_order():
    rng = np.random.default_rng(4)
    base = rng.random(3000)
    small, large = np.clip(base - 0.002, 0, 1), np.clip(base - 0.1 * rng.random(3000), 0, 1)
    process = uniform(Question(0.02, base), 2)
    verdicts = decide(process, np.stack([small, large]), 0.01)
    assert verdicts == [Verdict.SAFE, Verdict.SENSITIVE]
    assert process.seen.max() < 3000


def test_choosing_again_names_the_same_images_and_steps_grow():
    base, margin, scores = subject(1, 4000)
    process = stratified(Question(0.02, base, margin, hits=True), range(6))
    lengths = []
    for _ in range(12):
        first, _, again = process.choose([2]), process.choose([4, 1]), process.choose([2])
        assert first[0].tolist() == again[0].tolist()
        lengths.append(len(first[0]))
        update(process, [2], scores)
    assert lengths[0] == 50
    assert lengths == sorted(lengths)
    while process.seen[2] < 1600:
        update(process, [2], scores)
    assert len(process.choose([2])[0]) == process.seen[2] // 16


def test_cells_with_one_coin_and_one_past_look_at_the_same_images():
    base, margin, _ = subject(2, 2000)
    process = Stratified(Question(0.02, base, margin), [1, 1, 2])
    same, also, other = process.choose(range(3))
    assert same.tolist() == also.tolist() != other.tolist()


@pytest.mark.parametrize("kind", ["stratified", "uniform"])
def test_stored_scores_are_followed_as_far_as_they_go(kind):
    base, margin, scores = subject(3, 3000)
    question = Question(0.02, base, margin, hits=True)
    whole, broken = process_of(kind, question, 6), process_of(kind, question, 6)
    verdicts = decide(whole, scores, 1e-3)
    holes = scores.copy()
    stops = {}
    for cell in (0, 4):
        order = broken.choose([cell])[0]
        holes[cell, order[-1]] = np.nan
        stops[cell] = 0
    followed = decide(broken, holes, 1e-3)
    for cell, verdict in enumerate(verdicts):
        if cell in stops:
            assert followed[cell] is Verdict.UNDECIDED
            assert broken.seen[cell] == stops[cell]
        else:
            assert followed[cell] is verdict
            assert broken.wealth[cell].tobytes() == whole.wealth[cell].tobytes()
    assert decide(broken, scores, 1e-3) == verdicts
    assert broken.seen.tolist() == whole.seen.tolist()


@pytest.mark.parametrize("kind", ["stratified", "uniform"])
def test_cells_far_apart_are_followed_though_the_furthest_has_no_scores(kind):
    base, margin, scores = subject(1, 4000, cells=3)
    process = process_of(kind, Question(0.05, base, margin, hits=True), 3)
    for _ in range(60):
        update(process, [2], scores)
    known = scores.copy()
    known[2] = np.nan  # the longest step is of a cell that cannot go on
    followed = process.follow(np.arange(3), known)
    assert followed.tolist() == [True, True, False]
    alone = process_of(kind, Question(0.05, base, margin, hits=True), 3)
    alone.follow(np.arange(2), scores[:2])
    assert np.array_equal(process.wealth[:2], alone.wealth[:2])


def test_a_verdict_says_at_how_many_images_it_fell():
    base, margin, scores = subject(5, 3000)
    process = process_of("stratified", Question(0.02, base, margin, hits=True), 6)
    verdicts = decide(process, scores, 1e-3)
    at = process.decided_at(1e-3)
    for cell, verdict in enumerate(verdicts):
        assert at[cell, int(verdict is Verdict.SENSITIVE)] == process.seen[cell]
    assert (process.decided_at(1e-9).max(1) <= process.seen).all()


@pytest.mark.parametrize("way", GUARANTEE["WAYS"])
def test_simulated_studies_keep_the_guarantee(way):
    setting = GUARANTEE["Setting"](images=300, tolerance=0.02, alpha=0.05)
    row = GUARANTEE["simulate"](setting, way, Verdict.SAFE, 5, 1)
    assert int(row[-3]) <= 2  # 3 of 5 come with probability 0.001 at most


@pytest.mark.complete
@pytest.mark.parametrize("side", [Verdict.SAFE, Verdict.SENSITIVE])
@pytest.mark.parametrize("way", GUARANTEE["WAYS"])
def test_many_simulated_studies_keep_the_guarantee(way, side):
    setting = GUARANTEE["Setting"](images=600, tolerance=0.01, alpha=0.05)
    row = GUARANTEE["simulate"](setting, way, side, 200, 2)
    assert int(row[-3]) <= 20


def test_ordinary_intervals_break_it():
    setting = GUARANTEE["Setting"](images=600, tolerance=0.01, alpha=0.05)
    for row in GUARANTEE["ordinary"](setting, Verdict.SAFE, 10, 0):
        assert int(row[-3]) >= 9


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (lambda: Question(0, np.ones(5)), "Expected a tolerance between 0 and 1, a proportion"),
        (lambda: Question(1.0, np.ones(5)), "Expected a tolerance between 0 and 1"),
        (lambda: Question(0.1, np.array([0, 2.0])), "Expected base scores between 0 and 1"),
        (lambda: Question(0.1, np.ones(0)), "Expected base scores between 0 and 1"),
        (lambda: Question(0.1, np.ones(5), np.ones(4)), "Expected a finite margin for each of 5"),
        (lambda: Question(0.1, np.ones(2), np.array([1, np.nan])), "Expected a finite margin"),
        (lambda: Question(0.1, np.ones(5), None, "all"), 'Expected the estimand "set" or'),
        (lambda: Question(0.1, np.full(5, 0.5), hits=True), "Expected base scores of 0 or 1 where"),
        (lambda: stratified(Question(0.1, np.full(5, 0.5)), [0]), "use the uniform order"),
        (
            lambda: stratified(Question(0.1, np.ones(5), None, "population"), [0]),
            "Expected the evaluation set as estimand",
        ),
    ],
)  # fmt: skip
def test_bad_questions_are_refused(made, text):
    with pytest.raises(LesionError, match=text):
        made()


@pytest.mark.parametrize(
    ("cells", "scores", "text"),
    [
        ([0], [np.ones(9)], "Expected 10 scores for cell 0, got 9"),
        ([0], [np.full(10, 1.5)], "Expected scores 0 or 1 for cell 0, got 1.5"),
        ([0], [np.full(10, np.nan)], "Expected scores 0 or 1 for cell 0, got nan"),
        ([0, 0], [np.ones(10)] * 2, "name every cell once"),
        ([0], [], "Expected scores for each cell once"),
    ],
)
def test_bad_scores_are_refused(cells, scores, text):
    process = Uniform(Question(0.1, np.ones(30), hits=True), 2, least=10)
    with pytest.raises(LesionError, match=text):
        process.update(cells, scores)
    assert process.seen.tolist() == [0, 0]


def test_no_scores_are_taken_after_the_last_image():
    process = Uniform(Question(0.1, np.ones(30)), 1, least=30)
    process.update([0], [np.ones(30)])
    process.update([0], [np.ones(0)])
    with pytest.raises(LesionError, match="it has seen every image"):
        process.update([0], [np.ones(5)])
