"""One evaluation a lesion: equal to a sweep where both apply, resumed, merged, judged, refused."""

import copy

import networks
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import lesion
from lesion.errors import EvidenceError, LesionError, StudyError, SubjectError
from lesion.lesions.lesion import Lesion
from lesion.sweeps.whole_network import prepare_whole


def top1(data):
    """The share of right answers on a dataset, as a function of a network."""

    @torch.no_grad()
    def share(network):
        assert not any(module.training for module in network.modules())
        (images, labels) = next(iter(DataLoader(data, len(data))))
        return (network(images).argmax(1) == labels).double().mean().item()

    return share


@pytest.fixture(scope="module")
def small():
    network, data = networks.plain(60)
    return network, data, top1(data)


def example(data):
    return data.tensors[0][:2]


def whole(small, path, ratios=(0.25, 0.5), **options):
    network, data, evaluate = small
    options = {"ratios": ratios, **options}
    return lesion.evaluate(network, evaluate, path, example(data), **options)


@pytest.mark.parametrize("family", ["resnet8", "mobilenet", "wayward"])
def test_values_are_those_of_a_full_sweep_where_there_is_one(family, tmp_path):
    if family == "wayward":
        network, data = networks.plain(40, kind=networks.Wayward)
    else:
        network, data = getattr(networks, family)(40)
    options = {"ratios": (0.3, 0.7), "units": "all"}
    with lesion.sweep(network, data, tmp_path / "a", full=True, holdout=0, **options) as study:
        swept = lesion.curves(study).query("reason == ''").set_index(["layer", "kind", "amount"])
    found = whole((network, data, top1(data)), tmp_path / "b", **options)
    with found as study:
        frame = lesion.curves(study)
    measured = frame.query("reason == ''").set_index(["layer", "kind", "amount"])
    assert len(measured) and set(measured.index) <= set(swept.index)
    if family == "resnet8":  # by a smaller network, which hooks could not be
        assert "coupled" in measured.index.get_level_values("kind")
    both = swept.loc[measured.index]
    assert 100 * measured["accuracy"].to_numpy() == pytest.approx(both["accuracy"].to_numpy())
    assert 100 * measured["drop"].to_numpy() == pytest.approx(both["drop"].to_numpy())
    assert both["drop"].abs().max() > 0
    left = {key[0] for key in set(swept.index) - set(measured.index)}
    reasons = frame.query("reason != ''").set_index("layer")["reason"]
    assert all("hooks cannot cut its channels at" in str(reasons[name]) for name in left)


def test_rows_say_that_no_interval_stands_behind_them(small, tmp_path):
    with whole(small, tmp_path / "s") as study:
        frame = lesion.curves(study)
        values = study.evaluations
        assert study.images == 0 and study.header.columns == ("evaluation",)
    rows = frame.query("reason == ''")
    assert len(rows) == 4 and set(rows["interval"]) == {"none"}
    assert rows[["low", "high", "loss_rise"]].isna().all(axis=None)
    assert set(rows["images"]) == {0} and set(rows["baseline"]) == {values[None]}
    assert values[None] == small[2](small[0])


def test_the_network_is_not_touched_whatever_the_evaluation_does(tmp_path):
    network, data = networks.plain(40)
    network.train()
    before, seen = copy.deepcopy(network.state_dict()), []

    def destructive(given):
        seen.append(given)
        value = top1(data)(given)
        nn.init.zeros_(given.fc.weight)
        given.train()
        return value

    whole((network, data, destructive), tmp_path / "s").close()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert network.training and not any(m._forward_pre_hooks for m in network.modules())
    assert len({id(one) for one in seen}) == 5 and all(one is not network for one in seen)


def test_what_fell_has_no_say_any_more(small, tmp_path):
    """Whatever is written into the filters that fall, the evaluation stays."""
    network, data, _ = small
    lowest = np.argsort(network.a.weight.detach().abs().sum((1, 2, 3)).numpy(), kind="stable")[:4]
    changed = copy.deepcopy(network)
    with torch.no_grad():
        changed.norm.bias[lowest.copy()] += 100

    @torch.no_grad()
    def logits(given):
        return float(given(data.tensors[0]).double().abs().sum())

    options = {"layers": ["a"], "ratios": (0.5,)}
    found = []
    for number, one in enumerate((network, changed)):
        with whole((one, data, logits), tmp_path / str(number), **options) as study:
            found.append(study.evaluations)
    (cut,) = found[0].keys() - {None}
    assert found[0][cut] == pytest.approx(found[1][cut], rel=1e-12)
    assert found[0][None] != pytest.approx(found[1][None], rel=1e-3)


class Counted:
    """An evaluation that counts its calls, and stops with an error at one of them."""

    def __init__(self, evaluate, stop=None, error=KeyboardInterrupt):
        self.evaluate, self.stop, self.error, self.calls = evaluate, stop, error, 0
        self.__qualname__ = "counted"

    def __call__(self, network):
        self.calls += 1
        if self.calls == self.stop:
            raise self.error("no luck.\nmore")
        return self.evaluate(network)


def test_a_stopped_sweep_goes_on_with_what_is_left(small, tmp_path):
    network, data, evaluate = small
    want = whole((network, data, Counted(evaluate)), tmp_path / "a")
    stopping = Counted(evaluate, stop=3)
    with pytest.raises(KeyboardInterrupt):
        whole((network, data, stopping), tmp_path / "b")
    steps, going = [], Counted(evaluate)
    got = whole((network, data, going), tmp_path / "b", progress=steps.append)
    assert got.evaluations == want.evaluations and going.calls == 4  # the intact network again
    assert [(step.done, step.total) for step in steps] == [(1, 3), (2, 3), (3, 3)]
    again = Counted(evaluate)
    more = whole((network, data, again), tmp_path / "b", ratios=(0.25, 0.75))
    assert again.calls == 3 and len(more.evaluations) == 7
    for study in (want, got, more):
        study.close()


def test_halves_make_the_whole_and_contradictions_are_refused(small, tmp_path):
    for name, layers in (("a", ["a"]), ("b", ["b"]), ("whole", [])):
        whole(small, tmp_path / name, layers=layers).close()
    lesion.merge([tmp_path / "b", tmp_path / "a"], tmp_path / "merged")
    with (
        lesion.Study.open(tmp_path / "merged") as one,
        lesion.Study.open(tmp_path / "whole") as two,
    ):
        assert one.evaluations == two.evaluations and len(one.evaluations) == 5
    with lesion.Study.open(tmp_path / "a") as study:
        (first, second) = (one for one in study.evaluations if one)
        study.set_evaluation(study.evaluations[first], first)
        with study._store.transaction():
            study._store.write("UPDATE evaluations SET value = 7 WHERE lesion = 2")
    words = rf"the evaluation of lesion {second.key} that the other studies holds, .* came"
    with pytest.raises(StudyError, match=words):
        lesion.merge([tmp_path / "a", tmp_path / "whole"], tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_another_value_is_refused(small, tmp_path):
    with whole(small, tmp_path / "s") as study:
        intact = study.evaluations[None]
        study.set_evaluation(intact * (1 + 1e-6))
        assert study.evaluations[None] == intact
        with pytest.raises(
            StudyError, match=r"evaluation of the intact network .* draws at random"
        ):
            study.set_evaluation(intact + 0.1)
        with pytest.raises(StudyError, match="Expected a lesion of"):
            study.set_evaluation(0.5, Lesion("x", "free", "l1", 0.5, 1, 2))


def test_another_function_of_the_same_name_is_told(small, tmp_path):
    network, data, _ = small
    whole((network, data, lambda network: 0.5), tmp_path / "s").close()
    with pytest.raises(StudyError, match=r"holds, 0\.5, but 0\.25 came: the images"):
        whole((network, data, lambda network: 0.25), tmp_path / "s", ratios=(0.75,))


def test_another_function_or_part_is_another_subject(small, tmp_path):
    network, data, evaluate = small
    whole(small, tmp_path / "s").close()
    with pytest.raises(StudyError, match="another came: evaluation"):
        whole((network, data, Counted(evaluate)), tmp_path / "s")
    lesion.sweep(network, data, tmp_path / "t").close()
    with pytest.raises(StudyError, match="another came: evaluation"):
        whole(small, tmp_path / "t")
    with pytest.raises(StudyError, match="another came"):
        lesion.sweep(network, data, tmp_path / "s")


# --- advice


def test_advice_takes_the_drops_as_they_are_and_says_so(small, tmp_path):
    ratios = (0.125, 0.25, 0.5, 0.75)
    with whole(small, tmp_path / "s", ratios=ratios) as study:
        frame = lesion.curves(study).query("reason == ''")
        tolerance = float(np.median(frame["drop"].clip(lower=0.01)))
        advice = lesion.recommend(study, max_drop=tolerance)
        intact = study.evaluations[None]
    for entry in (
        one for one in advice.layers if one.kind == "free" and one.status != "unmeasured"
    ):
        own = frame[frame["layer"] == entry.layer]
        broken = own.loc[own["drop"] > tolerance, "amount"].min()
        fine = own.loc[~(own["amount"] >= broken), "amount"].max()
        assert entry.rate == (0 if np.isnan(fine) else fine)
        assert entry.low is None and entry.high is None
    text = advice.text()
    assert f"The intact network: {intact:.4g} by its evaluation." in text
    assert f"a drop of at most {tolerance:g};" in text
    assert "No interval stands behind these drops" in advice.guarantee and "nan" not in text
    assert "points" not in text.split("These rates say")[0]
    assert advice.baseline == intact and advice.images == 0


def test_advice_needs_a_tolerance_and_evaluations(small, tmp_path):
    network, data, evaluate = small
    with whole(small, tmp_path / "s") as study:
        with pytest.raises(LesionError, match="a tolerance in the evaluation's own unit, got none"):
            lesion.recommend(study)
        assert lesion.recommend(study, max_drop=500).skip == []
        with pytest.raises(LesionError, match="Expected a tolerance in points, above 0"):
            lesion.recommend(study, max_drop=0)
    ready = prepare_whole(network, evaluate, tmp_path / "t", example(data))
    with ready.study as study:
        with pytest.raises(EvidenceError, match=r"Expected evaluations in .*, but it holds none"):
            lesion.recommend(study, max_drop=0.1)
        assert set(lesion.curves(study)["reason"]) == {
            "not measured yet", "its channels are the network's outputs",
        }  # fmt: skip
        next(iter(ready))
        assert lesion.curves(study)["drop"].isna().all()


def test_the_curves_can_be_drawn(small, tmp_path):
    with whole(small, tmp_path / "s") as study:
        frame, advice = lesion.curves(study), lesion.recommend(study, max_drop=0.2)
        lesion.plot_sensitivity(frame, advice)
        lesion.plot_heatmap(frame, advice)
        lesion.plot_rates(advice)


# --- what cannot be evaluated


class Fragile(nn.Module):
    """Its evaluation below is not finite once filters of `a` are gone."""

    def __init__(self):
        super().__init__()
        self.a, self.fc = nn.Conv2d(1, 4, 1), nn.Linear(4, 2)

    def forward(self, x):
        return self.fc(self.a(x).mean((2, 3)))


@torch.no_grad()
def logarithm(network):
    """−∞ for the network with fewer filters."""
    return float(torch.log(torch.as_tensor(network.fc.in_features == 4).double()))


def test_an_evaluation_that_is_not_finite_is_a_row_with_a_reason(tmp_path):
    with lesion.evaluate(
        Fragile(), logarithm, tmp_path / "s", torch.zeros(2, 1, 4, 4), ratios=(0.5,)
    ) as study:
        assert list(study.failed.values()) == ["its evaluation is not finite (-inf)"]
        assert study.evaluations == {None: 0.0}
    with pytest.raises(SubjectError, match="a finite evaluation of the intact network, got nan"):
        lesion.evaluate(Fragile(), lambda _: float("nan"), tmp_path / "t", torch.zeros(2, 1, 4, 4))


@pytest.mark.parametrize(
    ("evaluate", "words"),
    [
        (5, r"Expected a function evaluate\(network\), got int"),
        (lambda network: {"map": 0.5}, r"Expected one number .* got \{'map': float\}"),
        (lambda network: torch.ones(3), r"Expected one number .* got float32 \(3,\)"),
        (lambda network: None, "Expected one number .* got NoneType"),
        (lambda network: 1 / 0, "raised ZeroDivisionError: division by zero; mend it and run the"),
    ],
)
def test_a_wrong_evaluation_is_told_in_a_sentence(small, tmp_path, evaluate, words):
    network, data, _ = small
    with pytest.raises(SubjectError, match=words):
        whole((network, data, evaluate), tmp_path / "s")


class Boxes(nn.Module):
    """Picks by value, in the manner of a detection network, and gives a list."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = networks.plain(10)[0], nn.Linear(3, 4)

    def forward(self, images):
        found = self.head(self.backbone(torch.stack(images)))
        return [{"boxes": one[one > 0].tolist()} for one in found]


def boxes(network):
    torch.manual_seed(0)
    return sum(len(one["boxes"]) for one in network(list(torch.randn(20, 1, 8, 8))))


def test_a_network_that_cannot_be_followed_is_looked_at_in_part(tmp_path):
    network, images = Boxes().eval(), torch.randn(2, 1, 8, 8)
    with pytest.raises(SubjectError, match=r'followed on float32 .* such as part="backbone"'):
        lesion.evaluate(network, boxes, tmp_path / "s", images)
    with pytest.raises(SubjectError, match=r"Expected a submodule 'body' .* has backbone, head"):
        lesion.evaluate(network, boxes, tmp_path / "s", images, part="body")
    assert not (tmp_path / "s").exists()
    with lesion.evaluate(network, boxes, tmp_path / "s", images, part="backbone") as study:
        assert {one.target for one in study.lesions} == {"backbone.a", "backbone.b"}
        assert "only backbone was looked at" in study.anatomy.notes[-1]
        assert study.header.subject["part"] == "backbone"
        assert [(one.target, one.reason) for one in study.skipped] == [
            ("backbone.fc", "its channels are the network's outputs")
        ]
        values = study.evaluations
    assert values[None] == boxes(network) and len(set(values.values())) > 2


def test_a_network_that_cannot_be_copied_is_told_in_a_sentence(small, tmp_path):
    network, data = networks.plain(40)
    network.kept = torch.ones(1, requires_grad=True) * 2
    with pytest.raises(SubjectError, match=r"copy\.deepcopy can copy, but it says: Only Tensors"):
        whole((network, data, small[2]), tmp_path / "s")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratios": (1.0,)}, "Expected pruning ratios between 0 and 1, got 1"),
        ({"layers": ["x"]}, "Expected the pattern of a layer, got 'x'"),
        ({"criterion": "l3"}, "Expected a criterion"),
        ({"device": "nowhere"}, "Expected a device that torch can use here"),
    ],
)
def test_bad_choices_are_refused_and_leave_nothing(small, tmp_path, options, words):
    with pytest.raises(LesionError, match=words):
        whole(small, tmp_path / "s", **options)
    assert not (tmp_path / "s").exists()


# --- intervals by bootstrap


def hits_of(data):
    """Top-1 in per cent, made of hits."""
    (images, labels) = data.tensors

    @torch.no_grad()
    def scored(network):
        hits = (network(images).argmax(1) == labels).double().numpy()
        return lesion.SetScore(hits, lambda parts: 100 * parts.mean())

    return scored


@pytest.fixture
def bootstrapped(small, tmp_path):
    network, data, _ = small
    with whole((network, data, hits_of(data)), tmp_path / "s") as study:
        yield study


def test_a_means_interval_is_students_of_its_paired_differences(small, bootstrapped):
    network, data, _ = small
    frame = lesion.curves(bootstrapped).query("reason == ''")
    assert set(frame["interval"]) == {"bootstrap"} and set(frame["images"]) == {60}
    with lesion.sweep(network, data, bootstrapped.path.with_name("t"), ratios=(0.25, 0.5),
                      full=True, holdout=0) as swept:  # fmt: skip
        intact = swept.intact().outcomes["top1"].astype(float)
        for lesion_, row in zip(swept.lesions, frame.itertuples(), strict=True):
            assert (row.layer, row.amount) == (lesion_.target, lesion_.amount)
            differences = 100 * (intact - swept.outcomes(lesion_)["top1"])
            error = differences.std(ddof=1) / np.sqrt(60)
            assert row.drop == pytest.approx(differences.mean())
            assert row.high - row.drop == pytest.approx(2.001 * error, rel=0.15)
            assert row.drop - row.low == pytest.approx(row.high - row.drop)


def test_advice_says_what_intervals_stand_behind_the_drops(bootstrapped):
    advice = lesion.recommend(bootstrapped, max_drop=1.0)
    text = " ".join(advice.text().split())
    assert "All 60 images were evaluated together: of these the verdicts are certain." in text
    assert "of 95 % by bootstrap over images, each lesion on its own" in text
    measured = [layer for layer in advice.layers if layer.low is not None]
    assert measured and all(layer.low <= layer.drop <= layer.high for layer in measured)
    lesion.plot_sensitivity(lesion.curves(bootstrapped), advice)


def test_resamples_are_kept_and_merged(small, bootstrapped, tmp_path):
    network, data, _ = small
    resampled = bootstrapped.resampled
    assert resampled.keys() == bootstrapped.evaluations.keys() and len(resampled) == 5
    evaluate = hits_of(data)
    for name, layers in (("a", ["a"]), ("b", ["b"])):
        whole((network, data, evaluate), tmp_path / name, layers=layers).close()
    lesion.merge([tmp_path / "a", tmp_path / "b"], tmp_path / "merged")
    with lesion.Study.open(tmp_path / "merged") as merged:
        for lesion_, values in merged.resampled.items():
            assert np.array_equal(values.values, resampled[lesion_].values)
        assert merged.resampled.keys() == resampled.keys()


def test_other_images_or_another_order_cannot_be_paired(small, bootstrapped):
    network, data, _ = small
    path, (images, labels) = bootstrapped.path, data.tensors
    back = torch.arange(59, -1, -1)
    turned = torch.utils.data.TensorDataset(images[back], labels[back])
    with pytest.raises(StudyError, match=r"of 60 images\).* same order, and as many resamples"):
        whole((network, data, hits_of(turned)), path, ratios=(0.75,))
    with pytest.raises(StudyError, match=r"\(50 of 60 images\)"):
        fewer = lambda network: lesion.SetScore(hits_of(data)(network).parts, np.mean, 50)  # noqa: E731
        fewer.__qualname__ = hits_of(data).__qualname__
        whole((network, data, fewer), path, ratios=(0.75,))
    whole((network, data, hits_of(data)), path, ratios=(0.75,)).close()


def test_a_study_of_numbers_goes_on_with_intervals_for_none(small, tmp_path):
    """Where the intact network's resamples are missing, nothing can be paired."""
    network, data, _ = small
    scored = hits_of(data)

    def number(network):
        return scored(network).value

    number.__qualname__ = scored.__qualname__
    whole((network, data, number), tmp_path / "s").close()
    with whole((network, data, scored), tmp_path / "s", ratios=(0.75,)) as study:
        frame = lesion.curves(study).query("reason == ''")
        assert set(frame["interval"]) == {"none"} and len(frame) == 6


def test_a_lesion_whose_resamples_are_not_finite_has_no_interval(small, tmp_path):
    network, data, _ = small

    def scored(network):
        hits = hits_of(data)(network).parts

        def combine(parts):  # as if a class were missing in what is drawn again
            lacking = network.a.out_channels < 8 and parts is not hits
            return np.nan if lacking else parts.mean()

        return lesion.SetScore(hits, combine)

    with whole((network, data, scored), tmp_path / "s") as study:
        frame = lesion.curves(study).query("reason == ''").set_index("layer")
        assert set(frame.loc["a", "interval"]) == {"none"} and frame.loc["a", "low"].isna().all()
        assert set(frame.loc["b", "interval"]) == {"bootstrap"}
        assert "No interval stands behind" in lesion.recommend(study, max_drop=1.0).guarantee
