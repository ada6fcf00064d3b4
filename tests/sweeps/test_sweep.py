"""Sweeps from end to end on small networks: exact, restored, resumed, refused in clear words."""

from contextlib import suppress

import networks
import numpy as np
import plain_loop
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from randomised import randomise
from torch import nn
from torch.utils.data import Dataset, TensorDataset
from torchvision.models import segmentation

from lesion.errors import LesionError, StudyError, SubjectError
from lesion.lesions import criteria
from lesion.lesions.lesion import Lesion
from lesion.results.curves import curves
from lesion.study.merge import merge
from lesion.study.study import Study
from lesion.subject.subject import Subject
from lesion.sweeps import identity, work
from lesion.sweeps import prepare as preparing
from lesion.sweeps import sweep as sweeping
from lesion.sweeps.goals import Full


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """16 images at once, so that small sweeps take several reads."""
    monkeypatch.setattr(work, "CHUNK", 16)


def sweep(*args, **options):
    """A sweep that measures every lesion on every image."""
    return sweeping.sweep(*args, full=True, **options)


def prepare(network, data, path, **options):
    """Such a sweep, ready to run."""
    return preparing.prepare(Subject.of(network, data), path, goal=Full(), **options)


def seen(study):
    """How many images each lesion has outcomes of."""
    return {lesion: int(study.seen(lesion).sum()) for lesion in study.lesions}


@pytest.fixture(scope="module")
def small():
    return networks.plain(60)


def state(network):
    """All that a sweep must give back: values, gradients, flags, modes, hooks, device."""
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return [
        [(name, t.detach().clone(), t.requires_grad, t.grad, t.device) for name, t in tensors],
        [(name, m.training, len(m._forward_hooks), len(m._forward_pre_hooks))
         for name, m in network.named_modules()],
    ]  # fmt: skip


def assert_same(before, after):
    for (name, value, *rest), (name_after, value_after, *rest_after) in zip(
        before[0], after[0], strict=True
    ):
        assert name == name_after and rest == rest_after
        assert torch.equal(value, value_after), name
    assert before[1] == after[1]


def content(study):
    """A study's outcomes, losses to float tolerance apart."""
    return {
        lesion.key: [study.outcomes(lesion)[name].tolist()
                     for name in ("top1", "top5", "agreement")]
        for lesion in study.lesions
    }  # fmt: skip


def measured(network, data, path, **options):
    """What a sweep measures, as a comparable value."""
    with sweep(network, data, path, **options) as study:
        return content(study)


def test_a_sweep_measures_every_lesion_on_every_image(small, tmp_path):
    network, data = small
    steps = []
    with sweep(network, data, tmp_path / "s", ratios=(0.2, 0.6), progress=steps.append) as study:
        assert [(one.target, one.pruned) for one in study.lesions] == [
            ("a", 2), ("a", 5), ("b", 2), ("b", 5)
        ]  # fmt: skip
        assert set(seen(study).values()) == {study.images} == {48}
        assert (len(study.header.order), len(study.header.holdout)) == (48, 12)
        images, labels = (tensor[list(study.header.order)] for tensor in data.tensors)
        own = plain_loop.logits(network, images)
        intact = study.intact()
        assert np.array_equal(intact.prediction, own.argmax(1).numpy())
        assert np.array_equal(intact.label, labels.numpy())
        for lesion in study.lesions:
            zeros = plain_loop.along(
                network, lesion.target, plain_loop.lowest(network, lesion.target, lesion.pruned)
            )
            logits = plain_loop.logits(network, images, zeros)
            found = study.outcomes(lesion)
            assert np.array_equal(found["top1"], (logits.argmax(1) == labels).numpy())
            assert np.array_equal(found["agreement"], (logits.argmax(1) == own.argmax(1)).numpy())
            loss = nn.functional.cross_entropy(logits, labels, reduction="none")
            assert found["loss"] == pytest.approx(loss.numpy(), rel=1e-3, abs=1e-3)
    assert [step.done for step in steps] == [64, 128, 192] and {s.total for s in steps} == {192}


def test_a_lesion_that_helps_has_a_negative_drop(tmp_path):
    """The class is the sign of the pixel; filter 0, the smallest, only stands in the way."""
    network = nn.Sequential(nn.Conv2d(1, 4, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([0.1, 1.0, -1.0, 1.0]).reshape(4, 1, 1, 1))
        network[0].bias.zero_()
        network[3].weight.copy_(torch.tensor([[90.0, 0, 1, 0], [0, 1, 0, 1]]))
        network[3].bias.zero_()
    pixels = torch.tensor([1.0, -1.0] * 10).reshape(20, 1, 1, 1)
    data = TensorDataset(pixels, (pixels.reshape(-1) > 0).long())
    with sweep(network, data, tmp_path / "s", ratios=(0.25,), holdout=0) as study:
        (row,) = curves(study).query("kind == 'free'").to_dict("records")
    assert (row["baseline"], row["accuracy"], row["drop"]) == (50, 100, -50)
    assert (row["broken"], row["repaired"]) == (0, 10)


class Failing(Dataset):
    """Raises an error at the n-th read after it is armed."""

    def __init__(self, data, error):
        self.data, self.error, self.left = data, error, None

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        if self.left is not None:
            self.left -= 1
            if self.left < 0:
                raise self.error
        return self.data[index]


@settings(max_examples=12, deadline=None)
@given(
    reads=st.sampled_from([None, 0, 5, 17, 20, 35, 45]),
    error=st.sampled_from([KeyboardInterrupt, RuntimeError, LesionError, MemoryError]),
    flags=st.lists(st.booleans(), min_size=5, max_size=5),
    kind=st.sampled_from([networks.Plain, networks.Wayward]),
)
def test_the_network_comes_back_bit_for_bit(reads, error, flags, kind, tmp_path_factory):
    network, data = networks.plain(40, kind=kind)
    for flag, module, weight in zip(flags, network.modules(), network.parameters(), strict=False):
        module.training, weight.requires_grad = flag, not flag
    network.b.weight.grad = torch.ones_like(network.b.weight)
    network.fc.register_forward_hook(lambda *_: None)
    before, draws = state(network), torch.get_rng_state()
    failing = Failing(data, error("stop"))
    failing.left = reads
    raised = None
    try:
        sweep(network, failing, tmp_path_factory.mktemp("s") / "s", ratios=(0.5,)).close()
    except BaseException as caught:
        raised = caught  # held, so that nothing is tidied up because it is let go of
        assert_same(before, state(network))
    assert (raised is None) == (reads is None)
    assert_same(before, state(network))
    assert torch.equal(draws, torch.get_rng_state())


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_the_network_comes_back_when_the_progress_call_raises(small, tmp_path, error):
    network, data = small
    network.train()
    before = state(network)

    def progress(_):
        raise error

    with pytest.raises(error) as caught:
        sweep(network, data, tmp_path / "s", progress=progress)
    assert caught.traceback  # still held, and yet:
    assert_same(before, state(network))
    network.eval()
    with Study.open(tmp_path / "s") as study:
        assert set(seen(study).values()) == {16}


def test_the_network_comes_back_when_a_layer_raises(small, tmp_path):
    """An error inside a whole pass with hooks on; the hooks go too."""
    network, data = networks.plain(40, kind=networks.Wayward)
    calls = []

    def trip(*_):
        calls.append(1)
        if len(calls) == 9:
            raise KeyboardInterrupt

    network.b.register_forward_hook(trip)
    before = state(network)
    with pytest.raises(KeyboardInterrupt):
        sweep(network, data, tmp_path / "s")
    assert_same(before, state(network))


@pytest.mark.parametrize("kind", [networks.Plain, networks.Wayward])
def test_memory_changes_nothing(kind, tmp_path):
    network, data = networks.plain(60, kind=kind)
    whole = measured(network, data, tmp_path / "a", memory="1G")
    assert measured(network, data, tmp_path / "b", memory="1") == whole
    if kind is networks.Plain:
        ready = prepare(network, data, tmp_path / "c", memory=20_000)
        assert 1 < ready.batch < 16
        list(ready)
        assert content(ready.study) == whole
        ready.study.close()


def test_an_interrupted_sweep_with_another_limit_ends_the_same(small, tmp_path):
    network, data = small
    whole = measured(network, data, tmp_path / "a")
    for limit in (1, 20, 37):  # ends within a read each time
        with sweep(network, data, tmp_path / "b", images=limit) as study:
            assert set(seen(study).values()) == {limit}
    assert measured(network, data, tmp_path / "b") == whole
    with Study.open(tmp_path / "a") as one, Study.open(tmp_path / "b") as other:
        assert curves(one).round(9).equals(curves(other).round(9))


def test_fewer_images_than_measured_measure_nothing(small, tmp_path):
    network, data = small
    steps = []
    whole = measured(network, data, tmp_path / "a")
    assert measured(network, data, tmp_path / "a", images=20, progress=steps.append) == whole
    assert steps == []


def test_a_late_lesion_catches_up(small, tmp_path):
    network, data = small
    sweep(network, data, tmp_path / "a", ratios=(0.5,), images=20).close()
    sweep(network, data, tmp_path / "a", ratios=(0.25,), images=40).close()
    got = measured(network, data, tmp_path / "a", ratios=(0.25, 0.5))
    want = measured(network, data, tmp_path / "b", ratios=(0.25, 0.5))
    assert got == want


def test_halves_make_the_whole(small, tmp_path):
    network, data = small
    for name, layers in (("a", ["a"]), ("b", ["b"]), ("whole", ["a", "b"])):
        sweep(network, data, tmp_path / name, layers=layers).close()
    merge([tmp_path / "b", tmp_path / "a"], tmp_path / "merged")
    with Study.open(tmp_path / "merged") as one, Study.open(tmp_path / "whole") as whole:
        assert content(one) == content(whole)
        columns = ["layer", "amount", "images", "drop", "low", "high", "loss_rise", "reason"]
        merged, wanted = (curves(study)[columns] for study in (one, whole))
        assert merged.equals(wanted)
        assert one.header == whole.header


class Fragile(nn.Module):
    """Takes a logarithm that fails once several of the first layer's channels are gone."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.fc = nn.Conv2d(1, 8, 1), nn.Conv2d(8, 8, 1), nn.Linear(8, 2)
        with torch.no_grad():
            self.a.weight.zero_()
            self.a.bias.fill_(1)
            self.b.weight.copy_(torch.eye(8)[:, :, None, None] + 1)
            self.b.bias.fill_(-5)  # 9 − 5 with all eight channels, 6 − 5 with six, 2 − 5 with one

    def forward(self, x):
        return self.fc(torch.log(self.b(self.a(x))).mean((2, 3)))


def test_a_lesion_whose_outputs_are_not_finite_is_a_row_with_a_reason(tmp_path):
    torch.manual_seed(0)
    data = networks.random_images(30, 1, 4, 4, classes=2)
    with sweep(Fragile(), data, tmp_path / "s", ratios=(0.25, 0.875), holdout=0) as study:
        reason = "its outputs are not finite (NaN or infinity)"
        assert {(one.target, one.amount): why for one, why in study.failed.items()} == {
            ("a", 0.875): reason
        }
        rows = curves(study).set_index(["layer", "amount"])
        assert rows.loc[("a", 0.875), "reason"] == reason
        assert np.isnan(rows.loc[("a", 0.875), "drop"])
        assert rows.loc[("a", 0.25), "images"] == rows.loc[("b", 0.875), "images"] == 30


def refused(kind, words, network, data, path, **options):
    """The sweep is refused in these words, and leaves neither file nor trace."""
    before, there = state(network), path.exists() and path.read_bytes()
    with pytest.raises(kind) as caught:
        sweep(network, data, path, **options)
    assert words in str(caught.value)
    assert_same(before, state(network))
    assert there == (path.exists() and path.read_bytes())
    assert not list(path.parent.glob("*.new")) and not list(path.parent.glob("*-journal"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ratios": (0.1, 1.0)}, "Expected pruning ratios between 0 and 1, got 1; 0.3 removes"),
        ({"ratios": (0.0,)}, "Expected pruning ratios between 0 and 1, got 0; "),
        ({"ratios": (float("nan"),)}, "Expected pruning ratios between 0 and 1, got nan; "),
        ({"ratios": ()}, "Expected at least one pruning ratio, got none; try 0.1,0.5,0.9."),
        ({"criterion": "fpmg"}, f"Expected a criterion ({', '.join(criteria.names())}), "
                                "got 'fpmg'; did you mean fpgm?"),
        ({"rounding": "up"}, "Expected rounding floor-kept or nearest, got 'up'"),
        ({"units": "some"}, "Expected units free or all, got 'some'; choose one of them."),
        ({"layers": ["bb"]}, "Expected the pattern of a layer, got 'bb'; did you mean b?"),
        ({"layers": ["a", "x*"]}, "got 'x*'; lesion layers lists them."),
        ({"images": 0}, "Expected at least one image, got 0; leave it out for all."),
        ({"holdout": 1.0}, "Expected a share of images to keep back from 0 to below 1, got 1"),
        ({"holdout": -0.1}, "from 0 to below 1, got -0.1"),
        ({"memory": "much"}, "Expected an amount of memory such as 800M or 4G, got 'much'."),
        ({"device": "nowhere"}, "Expected a device that torch can use here, got 'nowhere': "),
        ({"device": "meta"}, "Expected a device that torch can use here, got 'meta': "),
    ],
)  # fmt: skip
def test_bad_choices_are_refused_and_leave_nothing(small, tmp_path, options, words):
    refused(LesionError, words, *small, tmp_path / "s", **options)


class Augmented(Dataset):
    """Items that change between reads."""

    def __init__(self, data):
        self.data, self.noise = data, torch.Generator().manual_seed(0)

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        image, label = self.data[index]
        return image + torch.randn(image.shape, generator=self.noise), label


def test_random_augmentation_is_refused(small, tmp_path):
    network, data = small
    words = "Expected images that are the same at every read, but two reads of the first ones"
    refused(SubjectError, words, network, Augmented(data), tmp_path / "s")


class Noisy(networks.Plain):
    """Draws random numbers in every pass."""

    def forward(self, x):
        return super().forward(x + torch.randn_like(x))


class NoisyAndWayward(networks.Wayward):
    """Draws random numbers, and cannot be traced."""

    def forward(self, x):
        return super().forward(x + torch.randn_like(x))


@pytest.mark.parametrize("kind", [Noisy, NoisyAndWayward])
def test_a_network_that_draws_is_refused(kind, tmp_path):
    network, data = networks.plain(20, kind=kind)
    refused(SubjectError, "make it deterministic in evaluation mode", network, data, tmp_path / "s")


def test_another_subjects_study_is_refused(small, tmp_path):
    network, data = small
    sweep(network, data, tmp_path / "s", images=5).close()
    other, _ = networks.plain(60, seed=1)
    refused(StudyError, "but another came: weights (", other, data, tmp_path / "s")
    refused(StudyError, "order (seed 0, 20 % kept back there, seed 1, 20 %", network, data,
            tmp_path / "s", seed=1)  # fmt: skip
    fewer = TensorDataset(*(tensor[:50] for tensor in data.tensors))
    refused(StudyError, "images (60 there, 50 here)", network, fewer, tmp_path / "s")


def test_changed_images_are_refused_and_nothing_is_lost(small, tmp_path):
    network, data = small
    sweep(network, data, tmp_path / "s", ratios=(0.5,)).close()
    changed = TensorDataset(data.tensors[0] + 1, data.tensors[1])
    with pytest.raises(StudyError, match="Images change between reads"):
        sweep(network, changed, tmp_path / "s", ratios=(0.25,))
    with Study.open(tmp_path / "s") as study:
        assert {one.amount: count for one, count in seen(study).items()} == {0.5: 48, 0.25: 0}


class Overflowing(networks.Plain):
    """Infinite for one image in the middle."""

    def forward(self, x):
        return super().forward(x) / (1 - (x == 7).float().amax((1, 2, 3)))[:, None]


def test_an_intact_network_that_overflows_is_refused(tmp_path):
    network, data = networks.plain(60, kind=Overflowing)
    data.tensors[0][40, 0, 0, 0] = 7
    with pytest.raises(SubjectError, match="Expected finite outputs of the intact network"):
        sweep(network, data, tmp_path / "s", holdout=0)


def test_one_image_is_enough(small, tmp_path):
    network, data = small
    one = TensorDataset(*(tensor[:1] for tensor in data.tensors))
    with sweep(network, one, tmp_path / "s", ratios=(0.5,)) as study:
        assert set(seen(study).values()) == {1}
        assert study.header.holdout == ()


def test_a_last_read_of_one_image(small, tmp_path):
    network, data = small
    few = TensorDataset(*(tensor[:17] for tensor in data.tensors))
    with sweep(network, few, tmp_path / "s", ratios=(0.5,), holdout=0) as study:
        assert set(seen(study).values()) == {17}


def test_criteria_and_seeds_stand_beside_each_other(small, tmp_path):
    network, data = small
    for criterion in ("l1", "fpgm", "random"):
        sweep(network, data, tmp_path / "s", criterion=criterion, ratios=(0.5,), images=16).close()
    with Study.open(tmp_path / "s") as study:
        assert len(study.lesions) == 6
        assert Lesion("a", "free", "fpgm", 0.5, 4, 8) in study.lesions
        assert set(seen(study).values()) == {16}


def test_a_criterion_that_does_not_fit_is_a_row_with_a_reason(small, tmp_path):
    network, data = small
    with sweep(network, data, tmp_path / "s", criterion="bn_scale", images=16) as study:
        assert {one.target for one in study.lesions} == {"a"}
        reasons = {one.target: one.reason for one in study.skipped}
        assert reasons["b"] == "no batch norm with a scale follows b directly"


def test_a_changed_environment_warns(small, tmp_path, monkeypatch):
    network, data = small
    sweep(network, data, tmp_path / "s", images=5).close()
    monkeypatch.setattr(identity.torch, "get_num_threads", lambda: 99)
    ready = prepare(network, data, tmp_path / "s")
    (warning,) = ready.warnings
    assert "measured in another environment: threads (" in warning and "99 here" in warning
    ready.study.close()


def test_an_iteration_given_up_restores_the_network(small, tmp_path):
    """Leaving the loop by hand: the modes come back once the iterator is closed."""
    network, data = small
    network.train()
    ready = prepare(network, data, tmp_path / "s")
    steps = iter(ready)
    next(steps)
    assert not network.training
    steps.close()
    assert network.training
    network.eval()
    ready.study.close()
    with suppress(StopIteration):
        next(steps)


# --- other scores


def overlap(outputs, targets):
    """The mean intersection over union of an image's classes, of those that it has."""
    found = outputs.argmax(1)
    scores = []
    for own, target in zip(found, targets, strict=True):
        classes = torch.cat([own, target]).unique()
        both = [((own == c) & (target == c)).sum() / ((own == c) | (target == c)).sum()
                for c in classes]  # fmt: skip
        scores.append(torch.stack(both).mean())
    return torch.stack(scores)


def test_a_segmentation_network_is_judged_by_a_users_own_score(tmp_path):
    torch.manual_seed(0)
    network = segmentation.fcn_resnet50(weights=None, weights_backbone=None, num_classes=3).eval()
    images = torch.randn(6, 3, 32, 32)
    randomise(network, images).float()
    with torch.no_grad():
        masks = network(images)["out"].argmax(1)
    masks[:, ::5] = (masks[:, ::5] + 1) % 3  # it is right on most pixels
    data = TensorDataset(images, masks)
    layers = ["backbone.layer4.2.conv1", "classifier.0"]
    with sweep(
        network, data, tmp_path / "s", score=overlap, layers=layers, ratios=(0.5,), holdout=0
    ) as study:
        assert [one.target for one in study.lesions] == layers and not study.failed
        assert study.header.columns == ("score",) and study.header.classes == 0
        assert study.header.settings["score"] == f"{__name__}:overlap"
        order = list(study.header.order)
        images, masks = images[order], masks[order]
        with torch.no_grad():
            own = overlap(network(images)["out"], masks).numpy()
        assert study.intact().outcomes["score"] == pytest.approx(own, abs=1e-5)
        for lesion in study.lesions:
            filters = plain_loop.lowest(network, lesion.target, lesion.pruned)
            zeros = plain_loop.along(network, lesion.target, filters)
            with plain_loop.zeroed(zeros):
                want = overlap(network(images)["out"], masks).numpy()
            found = study.outcomes(lesion)["score"]
            assert found == pytest.approx(want, abs=1e-3)
            assert abs(found - own).max() > 0.01


class Images(Dataset):
    """The images without their labels."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index][0]


@pytest.mark.parametrize("kind", [networks.Plain, networks.Wayward])
def test_without_labels_lesions_are_compared_with_the_intact_network(kind, tmp_path):
    network, data = networks.plain(40, kind=kind)
    with sweep(
        network, Images(data), tmp_path / "s", score="tv", ratios=(0.5,), holdout=0
    ) as study:
        assert study.header.columns == ("agreement", "tv") and study.intact().label.max() == -1
        images = data.tensors[0][list(study.header.order)]
        own = plain_loop.logits(network, images)
        for lesion in study.lesions:
            filters = plain_loop.lowest(network, lesion.target, lesion.pruned)
            zeros = plain_loop.along(network, lesion.target, filters)
            logits = plain_loop.logits(network, images, zeros)
            variation = (logits.softmax(1) - own.softmax(1)).abs().sum(1) / 2
            found = study.outcomes(lesion)
            assert found["tv"] == pytest.approx(1 - variation.numpy(), abs=1e-5)
            agree = logits.argmax(1) == own.argmax(1)
            assert np.array_equal(found["agreement"], agree.numpy())
            assert 0 < found["agreement"].mean() < 1


def test_another_score_is_another_subject(small, tmp_path):
    network, data = small
    sweep(network, data, tmp_path / "s", ratios=(0.5,), images=5).close()
    words = "score (top1 there, agreement here)"
    refused(StudyError, words, network, data, tmp_path / "s", score="agreement")
    own = "top1, top5, agreement, loss, margin"
    words = f"score ({own} there, {own}, tv here)"
    refused(StudyError, words, network, data, tmp_path / "s", score="tv")


def test_a_score_that_is_none_is_refused_and_leaves_nothing(small, tmp_path):
    refused(
        SubjectError, "Expected scores from 0 to 1, got ", *small, tmp_path / "s",
        score=lambda outputs, _: outputs.amax(1) + 99,
    )  # fmt: skip
    refused(
        SubjectError, "Expected one score an image, 2 in all, got an array of shape ()",
        *small, tmp_path / "s", score=lambda outputs, _: outputs.mean().sigmoid(),
    )  # fmt: skip
    refused(
        SubjectError, "Expected a score top1, top5, agreement or tv, or a function, got 'top3'.",
        *small, tmp_path / "s", score="top3",
    )  # fmt: skip


def test_a_lesion_without_numbers_fails_by_a_users_own_score_too(tmp_path):
    torch.manual_seed(0)
    data = networks.random_images(30, 1, 4, 4, classes=2)
    with sweep(
        Fragile(), data, tmp_path / "s", ratios=(0.25, 0.875), holdout=0,
        score=lambda outputs, _: outputs.softmax(1)[:, 0],
    ) as study:  # fmt: skip
        assert {(one.target, one.amount) for one in study.failed} == {("a", 0.875)}
        assert {len(study.outcomes(one)) for one in study.lesions} == {30, 0}
