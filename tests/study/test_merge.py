"""Merging: halves make the whole in any order, and nothing is overwritten."""

import os
import sqlite3
from dataclasses import replace
from itertools import permutations

import numpy as np
import planted
import pytest

from lesion.errors import StudyError
from lesion.network.anatomy import Block
from lesion.study.aim import Aim
from lesion.study.database import Store
from lesion.study.merge import merge
from lesion.study.study import Study
from lesion.subject.outcomes import Outcomes

BASE = planted.intact(300)


def half(path, names, images=300, chosen=None, **changes):
    """A study of the lesions of some layers on the first images, or of those of them chosen."""
    study = Study.create(path, planted.header(images=300, **changes))
    lesions, skipped = planted.lesions(study.anatomy, (0.5,))
    chosen_lesions = [lesion for lesion in lesions if lesion.target.startswith(names)]
    study.add(chosen_lesions, skipped)
    positions = np.arange(images) if chosen is None else chosen
    whole = {
        lesion: planted.lesioned(BASE, 3 * index, 2, seed=index).take(positions)
        for index, lesion in enumerate(lesions)
        if lesion in chosen_lesions
    }
    planted.record(study, BASE, whole, images)
    for lesion in chosen_lesions:
        study.set_scores(lesion.target, lesion.kind, "l1", 0, np.arange(lesion.channels))
    return study


def outcomes(study):
    """Every lesion's images and columns, and the intact network's, as one comparable value."""
    by_key = {lesion.key: study.outcomes(lesion) for lesion in study.lesions}
    intact = study.intact()
    by_key["intact"] = intact.outcomes
    rest = [getattr(intact, name).tolist() for name in ("label", "prediction", "margin", "digest")]
    return rest, {
        key: [rows.images.tolist(), *(rows[name].tolist() for name in planted.COLUMNS)]
        for key, rows in by_key.items()
    }


def content(path):
    """All that a study says, as one comparable value."""
    with Study.open(path) as study:
        scores = {key: tuple(values) for key, values in study.all_scores().items()}
        return (
            outcomes(study), study.header, sorted(study.failed.items(), key=str), scores,
            sorted(study.skipped, key=str), study.aims,
        )  # fmt: skip


def test_halves_make_the_whole(tmp_path):
    half(tmp_path / "a", ("conv1", "layer1")).close()
    half(tmp_path / "b", ("layer2", "layer3")).close()
    half(tmp_path / "whole", ("conv1", "layer")).close()
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert content(tmp_path / "c") == content(tmp_path / "whole")
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c", "whole"]


def permuted(tmp_path, names):
    """The file that merging in any order gives; it is the same byte for byte."""
    written = set()
    for number, order in enumerate(permutations(names)):
        merge([tmp_path / name for name in order], tmp_path / f"out{number}")
        written.add((tmp_path / f"out{number}").read_bytes())
    assert len(written) == 1
    return tmp_path / "out0"


def test_the_order_of_the_inputs_changes_nothing(tmp_path):
    environment = {"device": "cuda"}
    half(tmp_path / "a", "layer1", images=128).close()
    half(tmp_path / "b", "layer", images=200, environment=environment).close()
    with half(tmp_path / "c", "layer3", settings={"name": "another"}) as study:
        study.fail(study.lesions[0], "its outputs are not finite")
    with Study.open(permuted(tmp_path, "abc")) as study:
        images = {lesion.target[:6]: int(study.seen(lesion).sum()) for lesion in study.lesions}
        assert images == {"layer1": 200, "layer2": 200, "layer3": 300}
        assert study.images == 300
        assert study.header.environment == {"device": "cpu | cuda", "torch": "2.9"}
        assert study.header.settings["name"] == "another | resnet20"
        assert list(study.failed.values()) == ["its outputs are not finite"]


def test_overlapping_images_join_to_their_union_in_any_order(tmp_path):
    """A lesion that stopped on other images in each study holds all of them afterwards."""
    chosen = {"a": np.arange(0, 150, 3), "b": np.arange(0, 300, 2), "c": np.array([7, 140])}
    for name, images in (("a", 150), ("b", 300), ("c", 299)):
        half(tmp_path / name, "layer2", images, chosen[name]).close()
    union = sorted({*chosen["a"], *chosen["b"], *chosen["c"]})
    half(tmp_path / "whole", "layer2", 300, np.array(union)).close()
    out = permuted(tmp_path, "abc")
    assert content(out) == content(tmp_path / "whole")
    with sqlite3.connect(out) as connection:  # one row each, as if measured at once
        assert connection.execute("SELECT count(*), max(images) FROM intact").fetchone() == (1, 300)
        parts = connection.execute("SELECT images FROM outcomes").fetchall()
    assert parts == [(len(union),)] * 3


def test_what_differs_by_float_noise_is_taken_from_one_study_in_any_order(tmp_path):
    half(tmp_path / "a", "layer1").close()
    with Study.create(tmp_path / "b", planted.header(images=300)) as study:
        lesion = planted.lesions(study.anatomy, (0.5,))[0][1]
        study.add([lesion])
        noisy = planted.lesioned(BASE, 3, 2, seed=1)
        loss = noisy["loss"] * np.float16(1.002)
        study.record(
            {lesion: Outcomes(noisy.images, {**noisy.columns, "loss": loss})},
            replace(BASE, margin=BASE.margin + np.float32(1e-4)),
        )
    with Study.open(permuted(tmp_path, "ab")) as study:
        merged = study.outcomes(lesion)["loss"]
        assert np.array_equal(merged, loss) or np.array_equal(merged, noisy["loss"])


def test_what_was_asked_is_kept(tmp_path):
    for name, aim in (("a", Aim(1)), ("b", Aim(2)), ("c", Aim(1))):
        with half(tmp_path / name, "layer1") as study:
            study.aim(aim)
    with Study.open(permuted(tmp_path, "abc")) as study:
        assert set(study.aims) == {Aim(1), Aim(2)} and len(study.aims) == 2


def test_a_study_merged_with_itself_is_itself(tmp_path):
    half(tmp_path / "a", "layer1").close()
    merge([tmp_path / "a", tmp_path / "a"], tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def refused(tmp_path, match):
    before = sorted(os.listdir(tmp_path))
    with pytest.raises(StudyError, match=match):
        merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert sorted(os.listdir(tmp_path)) == before


def test_contradicting_outcomes_are_refused_and_nothing_is_left(tmp_path):
    half(tmp_path / "a", "layer1").close()
    with half(tmp_path / "b", "layer2") as study:
        lesion = planted.lesions(study.anatomy, (0.5,))[0][1]
        study.add([lesion])
        study.record({lesion: planted.lesioned(BASE, 90, 0).take(slice(10, 100))})
    refused(
        tmp_path,
        r"Cannot merge .*[ab]: Expected the outcomes of lesion \S*/layer1\.0\.conv1/\S* that are",
    )


def test_other_images_are_refused(tmp_path):
    half(tmp_path / "a", "layer1").close()
    with Study.create(tmp_path / "b", planted.header(images=300)) as study:
        other = replace(BASE, digest=BASE.digest + np.uint64(1))
        study.record({}, other.take(slice(0, 128)))
    refused(tmp_path, "Cannot merge .*[ab]: Images change between reads: expected image 0 of the")


def test_other_columns_are_refused(tmp_path):
    half(tmp_path / "a", "layer1").close()
    columns = planted.header().columns[:3]
    Study.create(tmp_path / "b", planted.header(images=300, columns=columns)).close()
    refused(tmp_path, "differ in columns: merge those of one network, images")


def test_another_subject_is_refused_by_name(tmp_path):
    half(tmp_path / "a", "layer1").close()
    subject = {**planted.header(images=300).subject, "weights": "other"}
    half(tmp_path / "b", "layer1", subject=subject).close()
    refused(tmp_path, r"Expected studies of one subject, .* differ in weights \((other|www)")


def with_blocks(*blocks):
    """What a study's anatomy becomes once these are its blocks."""
    anatomy = planted.header(images=300).anatomy
    return {"anatomy": replace(anatomy, blocks=tuple(Block(name, ("conv1",)) for name in blocks))}


def test_blocks_are_known_where_one_study_knows_them(tmp_path):
    half(tmp_path / "a", "layer1.0").close()
    half(tmp_path / "b", "layer1.1", **with_blocks("a")).close()
    for out, order in (("ab", "ab"), ("ba", "ba")):
        merge([tmp_path / name for name in order], tmp_path / out)
        with Study.open(tmp_path / out) as study:
            assert [block.name for block in study.anatomy.blocks] == ["a"]
    half(tmp_path / "c", "layer1.1", **with_blocks("a", "b")).close()
    with pytest.raises(StudyError, match="which blocks a stream passes"):
        merge([tmp_path / "b", tmp_path / "c"], tmp_path / "bc")


def test_another_order_is_refused(tmp_path):
    half(tmp_path / "a", "layer1").close()
    head = planted.header(images=300)
    Study.create(tmp_path / "b", replace(head, order=head.order[::-1])).close()
    refused(tmp_path, "differ in order: merge those of one network, images")


def test_an_existing_file_is_not_overwritten(tmp_path):
    half(tmp_path / "a", "layer1").close()
    (tmp_path / "c").write_text("mine")
    with pytest.raises(
        StudyError, match=r"Expected a new file for the merged study, but .* exists"
    ):
        merge([tmp_path / "a"], tmp_path / "c")
    assert (tmp_path / "c").read_text() == "mine"


def test_missing_and_no_inputs_are_said(tmp_path):
    with pytest.raises(StudyError, match=r"there is no file .*nowhere"):
        merge([tmp_path / "nowhere"], tmp_path / "c")
    with pytest.raises(StudyError, match="Expected at least one study to merge, got none"):
        merge([], tmp_path / "c")


@pytest.mark.parametrize("text", ["database or disk is full", "disk I/O error: full"])
def test_a_full_disk_is_told_of_the_file_that_was_asked_for(tmp_path, monkeypatch, text):
    half(tmp_path / "a", ("layer1",)).close()

    def full(*_):
        raise sqlite3.OperationalError(text)

    monkeypatch.setattr(Store, "write", full)
    with pytest.raises(StudyError, match=r"room to write \S*/c, but the disk is full: no file was"):
        merge([tmp_path / "a"], tmp_path / "c")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a"]
