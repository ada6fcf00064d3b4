"""Merging: halves make the whole in any order, and nothing is overwritten."""

import os
from dataclasses import replace
from itertools import permutations

import numpy as np
import planted
import pytest

from lesion.curves import curves
from lesion.errors import StudyError
from lesion.merging import merge
from lesion.study import Study

BASE = planted.intact(300)


def half(path, names, images=300, **changes):
    """A study of some of the lesions on the first images."""
    study = Study.create(path, planted.header(images=300, **changes))
    lesions, skipped = planted.lesions(study.anatomy, (0.5,))
    chosen = [lesion for lesion in lesions if lesion.target.startswith(names)]
    study.add(chosen, skipped)
    whole = {
        lesion: planted.lesioned(BASE, 3 * index, 2, seed=index)
        for index, lesion in enumerate(lesions)
        if lesion in chosen
    }
    planted.record(study, BASE, whole, images)
    for lesion in chosen:
        study.set_scores(lesion.target, lesion.kind, "l1", 0, np.arange(lesion.channels))
    return study


def content(path):
    """All that a study says, as one comparable value."""
    with Study.open(path) as study:
        scores = {key: tuple(values) for key, values in study.all_scores().items()}
        return (
            curves(study).to_csv(), study.header, sorted(study.failed.items(), key=str), scores,
            [study.digest(chunk) for chunk in range(4)], study.intact().margin.tobytes(),
        )  # fmt: skip


def test_halves_make_the_whole(tmp_path):
    half(tmp_path / "a", ("conv1", "layer1")).close()
    half(tmp_path / "b", ("layer2", "layer3")).close()
    half(tmp_path / "whole", ("conv1", "layer")).close()
    merge([tmp_path / "a", tmp_path / "b"], tmp_path / "c")
    assert content(tmp_path / "c") == content(tmp_path / "whole")
    assert sorted(os.listdir(tmp_path)) == ["a", "b", "c", "whole"]


def test_the_order_of_the_inputs_changes_nothing(tmp_path):
    environment = {"device": "cuda"}
    half(tmp_path / "a", "layer1", images=128).close()
    half(tmp_path / "b", "layer", images=200, environment=environment).close()
    with half(tmp_path / "c", "layer3", settings={"ratios": [0.5]}) as study:
        study.fail(study.lesions[0], "its outputs are not finite")
    written = set()
    for number, names in enumerate(permutations("abc")):
        merge([tmp_path / name for name in names], tmp_path / f"out{number}")
        written.add((tmp_path / f"out{number}").read_bytes())
    assert len(written) == 1
    with Study.open(tmp_path / "out0") as study:
        images = {lesion.target[:6]: study.images(lesion) for lesion in study.lesions}
        assert images == {"layer1": 200, "layer2": 200, "layer3": 300}
        assert study.header.environment == {"device": "cpu | cuda", "torch": "2.9"}
        assert list(study.failed.values()) == ["its outputs are not finite"]


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
        study.record(0, "digest 0", planted.cut_intact(BASE, slice(0, 128)), {
            lesion: planted.cut(planted.lesioned(BASE, 90, 0), slice(0, 128))
        })  # fmt: skip
    refused(
        tmp_path,
        r"Cannot merge .*[ab]: Expected the outcomes of chunk 0 of lesion .*/layer1\.0\.conv1",
    )


def test_other_images_are_refused(tmp_path):
    half(tmp_path / "a", "layer1").close()
    with Study.create(tmp_path / "b", planted.header(images=300)) as study:
        study.record(0, "another", planted.cut_intact(BASE, slice(0, 128)), {})
    refused(tmp_path, "Images change between reads")


def test_another_subject_is_refused_by_name(tmp_path):
    half(tmp_path / "a", "layer1").close()
    subject = {**planted.header(images=300).subject, "weights": "other"}
    half(tmp_path / "b", "layer1", subject=subject).close()
    refused(tmp_path, r"Expected studies of one subject, .* differ in weights \((other|www)")


def test_another_order_is_refused(tmp_path):
    half(tmp_path / "a", "layer1").close()
    head = planted.header(images=300)
    Study.create(tmp_path / "b", replace(head, order=head.order[::-1])).close()
    refused(tmp_path, "differ in order: merge those of one network and images")


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
