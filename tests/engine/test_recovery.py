"""Recovery before scoring: by hand on smaller networks, never on scored images, without a trace."""

import copy
import itertools
import random
from contextlib import nullcontext
from dataclasses import replace

import networks
import numpy as np
import pytest
import torch
from randomised import randomise
from slicing import shrink
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lesion.engine.base import Cut
from lesion.engine.mends import Reconstruct, Statistics
from lesion.engine.recovery import Chain, parse
from lesion.engine.retrain import Finetune, distillation
from lesion.errors import EvidenceError, LesionError, StudyError, SubjectError
from lesion.lesions.lesion import Joint, Lesion
from lesion.rates.recommend import recommend
from lesion.results.curves import curves
from lesion.study.merge import merge
from lesion.study.study import Study
from lesion.subject.subject import Subject
from lesion.sweeps import prepare as preparing
from lesion.sweeps import sweep as sweeping
from lesion.sweeps import work
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Full

RATIOS = (0.25, 0.5)


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """16 images at once, so that small sweeps take several reads."""
    monkeypatch.setattr(work, "CHUNK", 16)


def training(count=300, seed=7, dtype=torch.float32):
    """Images of three classes that are scored nowhere."""
    numbers = torch.Generator().manual_seed(seed)
    images = torch.randn(count, 1, 8, 8, generator=numbers, dtype=dtype)
    return TensorDataset(images, torch.randint(0, 3, (count,), generator=numbers))


def sweep(network, data, path, *, recover="bn", train=None, **options):
    """A full sweep of two ratios with recovery."""
    options = {"ratios": RATIOS, "full": True, **options}
    train = training() if train is None else train
    return sweeping.sweep(network, data, path, recover=recover, train=train, **options)


def prepare(network, data, path, recovery, train):
    """Such a sweep, ready to run."""
    subject = Subject.of(network, data, train=train)
    return preparing.prepare(subject, path, Choices(ratios=RATIOS, recovery=recovery), Full())


def content(study):
    """A study's outcomes by key."""
    return {
        one.key: [study.outcomes(one)[name].tolist() for name in ("top1", "agreement", "loss")]
        for one in study.lesions
    }


# --- by hand


def order(count, seed=0, epoch=0):
    return np.random.default_rng([seed, epoch, 1]).permutation(count)


def estimate(network, images, labels):
    """The average of the batches' statistics: 16 batches of 125, or as many as there are.

    Of the batch norms behind "b", which every lesion of `Normed` that any reaches does reach.
    """
    network.eval()
    for name, module in network.named_modules():
        if isinstance(module, nn.BatchNorm2d) and name != "norm":
            module.reset_running_stats()
            module.momentum = None
            module.train()
    first = order(len(images))[:2000]
    with torch.no_grad():
        for start in range(0, len(first) - 124, 125):
            network(images[first[start : start + 125]])
    return network.eval()


class Normed(networks.Plain):
    """With a batch norm behind "b", which a lesion of "a" reaches."""

    def __init__(self):
        super().__init__()
        self.b = nn.Sequential(self.b, nn.BatchNorm2d(8))


@torch.enable_grad()
def retrain(network, images, labels, steps=6):
    """Six steps of SGD; 300 images make two batches an epoch."""
    network.train().requires_grad_(True)
    sgd = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for step in range(steps):
        mixed = order(len(images), epoch=step // 2)[step % 2 * 128 :][:128]
        loss = F.cross_entropy(network(images[mixed]), labels[mixed])
        sgd.zero_grad()
        loss.backward()
        sgd.step()
    return network.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("recovery", "by_hand", "size"),
    [("bn", estimate, 300), ("bn", estimate, 2300), ("finetune:6", retrain, 300)],
)
def test_it_equals_recovery_of_the_physically_smaller_network(recovery, by_hand, size, tmp_path):
    torch.manual_seed(0)
    images = torch.randn(40, 1, 8, 8, dtype=torch.float64)
    network = randomise(Normed(), images)
    data = TensorDataset(images, torch.randint(0, 3, (40,)))
    train = training(size, dtype=torch.float64)
    ready = prepare(network, data, tmp_path / "s", recovery, train)
    assert len(ready.lesions) == 4
    call = ready.worker.dissection.call
    for lesion, edit in ready.lesions.items():
        cut = {lesion: Cut(edit)}
        with torch.no_grad():
            found = dict(ready.worker.engine.run(call.tensors(data.tensors), cut))
            small = copy.deepcopy(shrink(network, ready.study.anatomy, edit.dropped))
            if recovery != "bn" or lesion.target == "a":  # none is behind b's
                small = by_hand(small, *train.tensors)
            want, intact = small(images), network(images)
        effect = float((want - found[None]).abs().max())
        assert effect > 1e-3 and torch.allclose(found[None], intact)
        assert float((found[lesion] - want).abs().max()) < 1e-9 * effect
    ready.study.close()


def test_residual_networks_recover_too(tmp_path):
    """By hooks, which cut single layers' channels alone; what is mended is cut anywhere."""
    torch.manual_seed(0)
    network, data = networks.resnet8(24)
    network.double()
    images = data.tensors[0].double()
    train = TensorDataset(torch.randn(130, 3, 16, 16).double(), torch.randint(0, 10, (130,)))
    data = TensorDataset(images, data.tensors[1])
    targets = {f"layer{i}.0.conv1" for i in (1, 2, 3)}
    ready = prepare(network, data, tmp_path / "s", "finetune:1", train)
    measured = [one for one in ready.lesions if one not in ready.study.failed]
    assert {one.target for one in measured} == targets
    for lesion in measured[1::2]:
        edit = ready.lesions[lesion]
        with torch.no_grad():
            tensors = ready.worker.dissection.call.tensors((images, data.tensors[1]))
            found = dict(ready.worker.engine.run(tensors, {lesion: Cut(edit)}))
            small = copy.deepcopy(shrink(network, ready.study.anatomy, edit.dropped))
            want = retrain(small, *train.tensors, steps=1)(images)
        assert torch.allclose(found[lesion], want, rtol=0, atol=1e-9 * float(want.abs().max()))
    list(ready)
    rows = curves(ready.study).set_index(["layer", "amount"])
    assert rows.loc[("conv1", 0.5), "reason"] == (
        "a network that recovers is cut by hooks, and hooks cannot cut these channels at add"
    )
    assert rows.loc[("layer2.0.conv1", 0.5), "images"] == len(ready.study.header.order)
    ready.study.close()
    ready = prepare(network, data, tmp_path / "t", "bn", train)
    assert not ready.study.failed
    assert {one.target for one in ready.lesions} == targets | {"conv1"}
    ready.study.close()


def spoil(network, batches):
    """Sets every filter of the smallest norms on fire; nothing of them may arrive anywhere."""
    with torch.no_grad():
        weight = network.a.weight
        order = weight.abs().sum((1, 2, 3)).argsort(stable=True)
        weight[order[:2]] = 1e6


def test_what_falls_stays_cut_whatever_recovery_does(tmp_path):
    network, data = networks.plain(40)
    with sweep(network, data, tmp_path / "s", recover=spoil, ratios=(0.25,), layers=["a"]) as one:
        (spoilt,) = content(one).values()
    with sweeping.sweep(
        network, data, tmp_path / "t", ratios=(0.25,), layers=["a"], full=True
    ) as other:
        (own,) = content(other).values()
    assert spoilt[:2] == own[:2] and spoilt[2] == pytest.approx(own[2], rel=1e-3, abs=1e-3)


def imitate(network, batches):
    """Fine-tuning for six steps, as a user would write it."""
    network.train()
    sgd = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    assert len(batches) == 2 and not any(w.grad is not None for w in network.parameters())
    for _ in range(3):
        for images, labels in batches:
            assert len(images) == 128
            sgd.zero_grad()
            F.cross_entropy(network(images), labels).backward()
            sgd.step()


def test_a_users_function_can_do_what_finetune_does(tmp_path):
    network, data = networks.plain(40)
    with (
        sweep(network, data, tmp_path / "s", recover=imitate) as one,
        sweep(network, data, tmp_path / "t", recover="finetune:6") as other,
    ):
        assert list(content(one).values()) == list(content(other).values())
        assert {lesion.recovery for lesion in one.lesions} == {f"{__name__}:imitate"}


class Binary(networks.Plain):
    """Two classes told apart by one logit, with batch norm."""

    def forward(self, x):
        return super().forward(x)[:, :1]


def by_sigmoid(network, batches):
    """Fine-tuning by the cross-entropy of a sigmoid."""
    network.train()
    sgd = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for _ in range(3):
        for images, labels in batches:
            sgd.zero_grad()
            F.binary_cross_entropy_with_logits(network(images)[:, 0], labels.float()).backward()
            sgd.step()


def test_one_logit_learns_as_a_sigmoid(tmp_path):
    """Alone, its cross-entropy would teach nothing."""
    network, data = networks.plain(40)
    binary = Binary()
    binary.load_state_dict(network.state_dict())
    data, train = (TensorDataset(d.tensors[0], d.tensors[1] % 2) for d in (data, training()))
    like = []
    for recover in (by_sigmoid, "finetune:6"):
        with sweep(
            binary.eval(), data, tmp_path / f"{len(like)}", recover=recover, train=train,
            score="tv",
        ) as study:  # fmt: skip
            like.append([study.outcomes(lesion)["tv"] for lesion in study.lesions])
    assert np.allclose(*like, atol=2e-3)
    assert min(map(np.min, like)) < 0.99  # it learned
    soft = distillation(*(F.pad(torch.tensor([[z]]), (1, 0)) for z in (2.0, 0.0)), 2.0)
    assert float(soft) == pytest.approx(0.44378, abs=1e-5)  # the golden's classes, turned


# --- never the scored images


def test_training_images_that_are_scored_are_refused(tmp_path):
    network, data = networks.plain(40)
    with sweeping.sweep(network, data, tmp_path / "s", ratios=RATIOS, full=True) as study:
        scored, back = study.header.order[5], list(study.header.holdout)
    mixed = TensorDataset(
        *(torch.cat([t, d[scored : scored + 1]]) for t, d in
          zip(training(124).tensors, data.tensors, strict=True))
    )  # fmt: skip
    words = (
        "Expected training images that are not scored, but image 124 of them is among the study's "
        "evaluation images; give others with train=… (--train DATA)."
    )
    masked = "finetune:2,masks=gdp,every=1"
    for recovery in ("bn", "finetune:2", masked, lambda _, batches: list(batches)):
        with pytest.raises(SubjectError) as caught:
            sweep(network, data, tmp_path / "s", recover=recovery, train=mixed)
        assert str(caught.value) == words
        held = TensorDataset(
            *(torch.cat([t[:120], d[back]]) for t, d in
              zip(training(124).tensors, data.tensors, strict=True))
        )  # fmt: skip
        with pytest.raises(SubjectError, match="Expected training images that are not scored"):
            sweep(network, data, tmp_path / "s", recover=recovery, train=held)
    with sweep(network, data, tmp_path / "s") as study:  # none is poisoned
        assert list(study.recoveries) == ["bn"]
        assert {len(study.outcomes(one)) for one in study.lesions} == {0, 32}
        assert {one.recovery for one in study.lesions if len(study.outcomes(one))} == {"", "bn"}


class Unlabelled(Dataset):
    """The images alone."""

    def __init__(self, data):
        self.data = data

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        return self.data[index][0]


def test_scored_images_without_labels_are_known_among_labelled_ones(tmp_path):
    network, data = networks.plain(40)
    options = {"score": "agreement", "recover": "finetune:2"}
    with pytest.raises(SubjectError, match="Expected training images that are not scored"):
        sweep(network, Unlabelled(data), tmp_path / "s", train=data, **options)
    with sweep(network, Unlabelled(data), tmp_path / "s", **options) as study:
        assert {len(study.outcomes(one)) for one in study.lesions} == {32}
    with sweep(
        network, data, tmp_path / "t", train=Unlabelled(training()), score="agreement"
    ) as study:
        assert {len(study.outcomes(one)) for one in study.lesions} == {32}


def test_recovery_reads_training_images_alone(tmp_path):
    network, data = networks.plain(40)
    log = tmp_path / "log"
    seen = []

    def watch(network, batches):
        before = log.read_text()
        seen.append(torch.cat([images for images, _ in batches]))
        assert log.read_text() == before

    train = training()
    with sweep(network, networks.Logged(data, log), tmp_path / "s", recover=watch, train=train):
        pass
    known = {tuple(image.flatten().tolist()) for image in train.tensors[0]}
    assert len(seen) == 4 and all(len(images) == 256 for images in seen)
    assert {tuple(image.flatten().tolist()) for image in seen[0]} <= known
    assert all(torch.equal(images, seen[0]) for images in seen)


def test_the_order_is_no_studys(tmp_path):
    """Or the images kept back of a set of equal size would be those that networks recover with."""
    network, data = networks.plain(300)
    ready = prepare(network, data, tmp_path / "s", "bn", training(300))
    batches = ready.worker.engine.mending.images.training.epoch(0, 0, 60)
    first = {tuple(image.flatten().tolist()) for image in next(batches)[0]}
    back = training(300).tensors[0][list(ready.study.header.holdout)]
    assert len(back) == 60
    assert len(first & {tuple(image.flatten().tolist()) for image in back}) < 30
    ready.study.close()


# --- the same each time


@pytest.mark.parametrize("recovery", ["bn", "finetune:3", "finetune:3,masks=gdp,every=1"])
def test_a_sweep_that_was_stopped_ends_the_same(recovery, tmp_path):
    network, data = networks.plain(60)
    with sweep(network, data, tmp_path / "a", recover=recovery) as study:
        whole = content(study)
    steps = []

    def stop(step):
        steps.append(step)
        if len(steps) == 6:
            raise KeyboardInterrupt

    sweep(network, data, tmp_path / "b", recover=recovery, images=20).close()
    with pytest.raises(KeyboardInterrupt):
        sweep(network, data, tmp_path / "b", recover=recovery, progress=stop)
    with sweep(network, data, tmp_path / "b", recover=recovery) as study:
        assert content(study) == whole
    with sweep(network, data, tmp_path / "c", recover=recovery, memory="1") as study:
        assert content(study) == whole
    done = [step.done for step in steps]
    assert done == sorted(done) and all(step.total >= step.done for step in steps)


def test_each_lesion_recovers_once(tmp_path):
    network, data = networks.plain(60)
    calls = []

    def count(network, batches):
        calls.append(network)

    for memory in ("1", "1G"):
        sweep(network, data, tmp_path / memory, recover=count, memory=memory).close()
        assert len(calls) == len(set(map(id, calls))) == 4
        assert not any(one is network for one in calls)
        calls.clear()


@pytest.mark.parametrize("recovery", ["bn", "finetune:2"])
def test_copies_are_kept_as_room_allows(recovery, tmp_path):
    network, data = networks.plain(40)
    ready = prepare(network, data, tmp_path / "s", recovery, training())
    engine = ready.worker.engine
    engine.together = 1
    run = engine.run
    cuts = {lesion: Cut(edit) for lesion, edit in ready.lesions.items()}
    tensors = ready.worker.dissection.call.tensors(data.tensors)
    with torch.no_grad():
        once, again = ([outputs for _, outputs in run(tensors, cuts)] for _ in range(2))
        one_by_one = [dict(run(tensors, {name: cut})) for name, cut in cuts.items()]
    assert all(torch.equal(one, other) for one, other in zip(once, again, strict=True))
    for (name, _), found in zip(cuts.items(), one_by_one, strict=True):
        assert any(torch.equal(found[name], outputs) for outputs in once)
    assert len(engine._copies if recovery != "bn" else engine._mended) == 1
    ready.study.close()


def test_the_same_units_may_lose_other_channels(tmp_path):
    """One name for two sets of rates: each has a copy of its own."""
    network, data = networks.plain(40)
    ready = prepare(network, data, tmp_path / "s", "bn", training())
    tensors, engine = ready.worker.dissection.call.tensors(data.tensors), ready.worker.engine
    for few, many in zip(list(ready.lesions)[::2], list(ready.lesions)[1::2], strict=True):
        assert few.target == many.target
        for lesion in (few, many):
            edit = ready.lesions[lesion]
            with torch.no_grad():
                wanted = dict(engine.run(tensors, {lesion: Cut(edit)}, False))[lesion]
                joint = Joint((lesion.target,))
                found = dict(engine.run(tensors, {joint: Cut(edit)}, False))[joint]
            assert torch.allclose(found, wanted)
    ready.study.close()


class Augmented(Dataset):
    """Noise from torch's, numpy's and Python's generators, or from one of its own."""

    def __init__(self, data, own=None):
        self.data, self.own = data, own

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        image, label = self.data[index]
        noise = torch.randn((), generator=self.own) + np.random.rand() + random.random()
        return image + noise, label


def test_augmentation_is_the_same_each_time_or_refused(tmp_path):
    network, data = networks.plain(40, kind=Normed)
    results = []
    for name in "ab":
        with sweep(network, data, tmp_path / name, train=Augmented(training())) as study:
            results.append(content(study))
        torch.manual_seed(9)
    assert results[0] == results[1]
    with sweep(network, data, tmp_path / "c") as study:
        assert list(content(study).values()) != list(results[0].values())
    own = Augmented(training(), torch.Generator())
    with pytest.raises(SubjectError, match="recovery must be the same each time; take that augm"):
        sweep(network, data, tmp_path / "d", train=own)


def test_decisions_are_made_on_recovered_lesions_too(tmp_path):
    network, data = networks.plain(400)
    ratios = (0.1, 0.5, 0.9)
    options = {"max_drop": 30, "confidence": 80, "full": False, "ratios": ratios}
    for path in ("a", "b"):
        sweeping.sweep(network, data, tmp_path / path, **options).close()
    sweep(network, data, tmp_path / "a", **options).close()
    with (
        sweep(network, data, tmp_path / "whole", ratios=ratios) as whole,
        Study.open(tmp_path / "a") as early,
    ):
        recovered = [one for one in early.lesions if one.recovery]
        assert 0 < sum(len(early.outcomes(one)) for one in recovered) < 320 * len(recovered)
        for one in recovered:
            found = early.outcomes(one)
            assert np.array_equal(found["top1"], whole.outcomes(one)["top1"][found.images])
        with Study.open(tmp_path / "b") as alone:
            assert recommend(early) == recommend(alone)
        advice = recommend(early, after="bn")
        assert "of its 6 lesions is wrong" in advice.guarantee
        assert advice.guarantee.endswith("Every lesion recovers by bn before it is scored.")
        words = (
            "Expected lesions with recovery by finetune:9, but .* holds others \\(one-shot, bn\\)"
        )
        with pytest.raises(EvidenceError, match=words):
            recommend(early, after="finetune:9")
        frame = curves(early)
        assert set(frame["recovery"][frame["amount"].notna()]) == {"", "bn"}


# --- one study


def test_one_study_holds_both(tmp_path):
    network, data = networks.plain(40)
    with sweeping.sweep(network, data, tmp_path / "s", ratios=RATIOS, full=True) as study:
        own = content(study)
    with sweep(network, data, tmp_path / "s") as study:
        both = content(study)
        assert {key: both[key] for key in own} == own
        assert {f"{key}/bn" for key in own} == both.keys() - own.keys()
        assert [one.recovery for one in study.lesions] == [""] * 4 + ["bn"] * 4
        assert replace(study.lesions[4], recovery="") == study.lesions[0]
        (text,) = study.recoveries.values()
        assert text.startswith("300 images, ")
    words = r"Expected the training images that .*s knows of recovery bn \(300 images, "
    with pytest.raises(StudyError, match=words):
        sweep(network, data, tmp_path / "s", train=training(seed=8))
    sweep(network, data, tmp_path / "t", train=training(seed=8), ratios=(0.75,)).close()
    with pytest.raises(StudyError, match="knows of recovery bn"):
        merge([tmp_path / "s", tmp_path / "t"], tmp_path / "no")
    sweep(network, data, tmp_path / "u", ratios=(0.75,)).close()
    merge([tmp_path / "s", tmp_path / "u"], tmp_path / "both")
    with Study.open(tmp_path / "both") as merged:
        assert len(merged.lesions) == 10 and list(merged.recoveries) == ["bn"]


def test_a_study_goes_on_with_the_bn_that_it_was_made_with(tmp_path):
    """It estimated all batch norms once, and those behind the lesion now."""
    network, data = networks.plain(40)
    with sweep(network, data, tmp_path / "a") as study:
        (text,) = study.recoveries.values()
    images = text.removesuffix(", of the batch norms behind the lesion")
    assert images != text
    sweeping.sweep(network, data, tmp_path / "b", ratios=RATIOS, full=True).close()
    with Study.open(tmp_path / "b") as study:
        study.set_recovery("bn", images)
    with pytest.raises(StudyError, match="knows of recovery bn"):
        sweep(network, data, tmp_path / "b")


def test_a_key_without_recovery_is_as_before():
    lesion = Lesion("a", "free", "l1", 0.5, 4, 8)
    assert lesion.key == "filters/free/a/l1/0.5/floor-kept/0"
    assert replace(lesion, recovery="bn").key == "filters/free/a/l1/0.5/floor-kept/0/bn"


# --- the network comes back


def state(network):
    tensors = [*network.named_parameters(), *network.named_buffers()]
    return [
        [(name, t.detach().clone(), t.requires_grad, t.grad) for name, t in tensors],
        [(m.training, getattr(m, "momentum", 0), len(m._forward_hooks), len(m._forward_pre_hooks))
         for m in network.modules()],
    ]  # fmt: skip


def assert_same(before, after):
    for (name, value, *rest), (name_after, value_after, *rest_after) in zip(
        before[0], after[0], strict=True
    ):
        assert name == name_after and torch.equal(value, value_after), name
        assert rest == rest_after
    assert before[1] == after[1]


class Failing(Dataset):
    """Raises an error at the n-th read after the first ones, which look at the data."""

    def __init__(self, data, error, left):
        self.data, self.error, self.left = data, error, left

    def __len__(self):
        return len(self.data)

    def __getitem__(self, index):
        self.left -= 1
        if self.left == 0:
            raise self.error
        return self.data[index]


def stumble(network, batches):
    """Trains a little, then fails."""
    imitate(network, batches)
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("recovery", "left", "error"),
    [
        ("bn", None, None),
        ("finetune:3", None, None),
        ("finetune:4,masks=gdp,every=1", None, None),
        ("finetune:4,masks=gdp,every=1", 300, RuntimeError),
        ("bn", 200, KeyboardInterrupt),
        ("finetune:3", 300, RuntimeError),
        ("finetune:3", 300, MemoryError),
        (stumble, None, KeyboardInterrupt),
    ],
)
def test_the_network_comes_back_bit_for_bit(recovery, left, error, tmp_path):
    network, data = networks.plain(40, kind=networks.Wayward)
    network.norm.momentum = 0.3
    network.train()
    network.b.eval()
    network.a.weight.requires_grad = False
    optimiser = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9)
    network(data.tensors[0]).sum().backward()
    optimiser.step()
    buffers = copy.deepcopy(optimiser.state_dict())
    before = state(network), torch.get_rng_state(), np.random.get_state(), random.getstate()
    train = training() if left is None else Failing(training(), error and error("stop"), left)
    kinds = (KeyboardInterrupt, SubjectError)
    with pytest.raises(kinds) if error else nullcontext():
        sweep(network, data, tmp_path / "s", recover=recovery, train=train).close()
    assert_same(before[0], state(network))
    assert torch.equal(before[1], torch.get_rng_state())
    assert all(map(np.array_equal, before[2], np.random.get_state()))
    assert before[3] == random.getstate()
    after = optimiser.state_dict()["state"]
    assert all(
        torch.equal(buffers["state"][key]["momentum_buffer"], after[key]["momentum_buffer"])
        for key in after
    )


def test_a_frozen_network_learns_all_the_same(tmp_path):
    network, data = networks.plain(40)
    with sweep(network, data, tmp_path / "a", recover="finetune:3") as study:
        free = content(study)
    network.requires_grad_(False)
    with sweep(network, data, tmp_path / "b", recover="finetune:3") as study:
        assert content(study) == free
    assert not any(weight.requires_grad for weight in network.parameters())


# --- what a recovery is called, and what cannot be


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("bn", "bn"),
        ("finetune:20", "finetune:20"),
        ("finetune:020,momentum=0.90", "finetune:20"),
        ("finetune:5,decay=0,lr=1e-3", "finetune:5,lr=0.001,decay=0"),
        ("distill:5,share=1,temperature=4", "distill:5,share=1"),
        ("finetune:50,every=020,masks=gdp", "finetune:50,masks=gdp,every=20"),
        ("distill:9,attention=10,masks=soft,every=10", "distill:9,attention=10,masks=soft"),
    ],
)
def test_a_recovery_has_one_name(text, name):
    assert parse(text).name == name
    assert parse(name) == parse(text)


def test_options_arrive():
    assert parse("bn") == Chain((Statistics(2000),))
    assert parse("finetune:5,lr=0.1,momentum=0.5") == Chain((), Finetune(5, 0.1, 0.5, 5e-4))
    assert parse("reconstruct:9,ridge=0.5,bn") == Chain((Reconstruct(9, 0.5), Statistics(2000)))


@pytest.mark.parametrize(
    "given", ["b", "bn:3", "bn,bn", "finetune:3,bn", "bias:0", "fold:x", "reconstruct,ridge=-1",
              "reconstruct,ridge=inf", "bias,ridge=1", "bn,", ",bn", "finetune",
              "finetune:", "finetune:x", "finetune:3,rate=1",
              "finetune:3,lr=", "finetune:3,lr=x", "finetune:3,share=1",
              "finetune:3,attention=1", "finetune:9,masks=dns,every=2.5", 5],
)  # fmt: skip
def test_other_texts_are_refused(given):
    with pytest.raises(LesionError, match=r"^Expected a recovery bias, fold, .* got '"):
        parse(given)


def test_distillation_by_hand():
    """Logits (2, 0) and (0, 0) softened by 2: KL 0.11094, times 4; the gradient is T (p − p_t)."""
    student = torch.zeros(1, 2, requires_grad=True)
    loss = distillation(torch.tensor([[2.0, 0.0]]), student, 2.0)
    loss.backward()
    assert loss.item() == pytest.approx(0.44378, abs=1e-5)
    assert student.grad.tolist() == [pytest.approx([-0.46212, 0.46212], abs=1e-5)]


def test_a_network_learns_from_the_intact_one_without_labels(tmp_path):
    """A users' loop of the same losses gives the same; with share 0 it is a fine-tuning."""
    network, data = networks.plain(40)
    teacher = copy.deepcopy(network)

    def imitated(student, batches):
        student.train()
        sgd = torch.optim.SGD(student.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
        for _, (images, _) in zip(range(4), itertools.chain(batches, batches), strict=False):
            with torch.no_grad():
                soft = torch.softmax(teacher(images) / 4, 1)
            logs = torch.log_softmax(student(images) / 4, 1)
            sgd.zero_grad()
            (16 * (soft * (soft.log() - logs)).sum(1).mean()).backward()
            sgd.step()

    train = training()
    with (
        sweep(network, data, tmp_path / "a", recover="distill:4,share=1", train=train) as one,
        sweep(network, data, tmp_path / "b", recover=imitated, train=train) as other,
    ):
        for ours, users in zip(content(one).values(), content(other).values(), strict=True):
            assert ours[2] == pytest.approx(users[2], abs=2e-3)
    with (
        sweep(network, data, tmp_path / "c", recover="distill:4,share=0") as one,
        sweep(network, data, tmp_path / "d", recover="finetune:4") as other,
    ):
        assert list(content(one).values()) == list(content(other).values())
    unlabelled = Unlabelled(training())
    sweep(network, data, tmp_path / "e", recover="distill:2,share=1", train=unlabelled).close()
    with pytest.raises(LesionError, match="give distill:2,share=1, which needs none"):
        sweep(network, data, tmp_path / "e", recover="distill:2", train=unlabelled)
    with pytest.raises(LesionError, match="Expected a temperature above 0 and a share"):
        sweep(network, data, tmp_path / "e", recover="distill:2,share=1.5")


class Odd(nn.Module):
    """Without batch norm."""

    def __init__(self):
        super().__init__()
        self.a, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(4, 3)

    def forward(self, x):
        return self.fc(torch.relu(self.a(x)).mean((2, 3)))


def fail(network, batches):
    raise ValueError("no luck. None at all.")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"train": None}, "Expected training images for recovery by bn, got none; give them with "),
        ({"recover": ""}, "Expected a recovery for the training images, got none; give recover="),
        ({"recover": "finetune:0"}, "Expected at least one step, a positive lr, a momentum from 0 "
                                     "to below 1 and a decay of 0 or more, got finetune:0."),
        ({"recover": "finetune:2,lr=-1"}, "got finetune:2,lr=-1."),
        ({"recover": "finetune:2,lr=nan"}, "got finetune:2,lr=nan."),
        ({"recover": "finetune:9,masks=gpd,every=2"},
         "Expected masks=gdp|dns|soft|agp, decided anew every=N steps, at least once in the first "
         "half of them, got finetune:9,masks=gpd,every=2."),
        ({"recover": "finetune:9,masks=gdp,every=5"}, "got finetune:9,masks=gdp,every=5."),
        ({"recover": "finetune:9,masks=gdp,every=0"}, "got finetune:9,masks=gdp,every=0."),
        ({"recover": "distill:9,share=1,masks=gdp"}, "got distill:9,share=1,masks=gdp."),
        ({"recover": "finetune:9,every=3"}, "Expected masks to be decided anew every 3 steps, got "
                                            "finetune:9,every=3; give masks=gdp|dns|soft|agp as "),
        ({"recover": "finetune:2", "train": Unlabelled(training())}, "Expected labels that are "),
        ({"recover": "finetune:2", "train": TensorDataset(training().tensors[0],
                                                           torch.full((300,), 3))},
         "Expected labels from 0 to 2, because the network has 3 outputs, got 3"),
        ({"train": TensorDataset(torch.randn(9, 2, 8, 8), torch.zeros(9).long())},
         "Of the training images: Expected data that the network takes, got batches of "),
        ({"train": [1, 2]}, "Of the training images: "),
        ({"train": TensorDataset(torch.randn(0, 1, 8, 8))}, "Expected at least one image"),
        ({"recover": fail}, "Expected recovery by test_recovery:fail to run on the lesioned "
                             "network, but with filters/free/a/l1/0.25/floor-kept/0/test_recovery:"
                             "fail it failed (ValueError: no luck. None at all); check the "),
        ({"recover": "finetune:1", "train": TensorDataset(torch.randn(1, 1, 8, 8),
                                                           torch.zeros(1).long())}, None),
    ],
)  # fmt: skip
def test_what_cannot_be_is_one_sentence(options, words, tmp_path):
    network, data = networks.plain(20)
    options = {"recover": "bn", "train": training(), "ratios": RATIOS, "full": True, **options}
    if words is None:
        sweeping.sweep(network, data, tmp_path / "s", **options).close()
        return
    with pytest.raises(LesionError) as caught:
        sweeping.sweep(network, data, tmp_path / "s", **options)
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_a_network_without_batch_norm_has_nothing_to_estimate(tmp_path):
    data = TensorDataset(torch.randn(20, 1, 8, 8), torch.randint(0, 3, (20,)))
    with pytest.raises(SubjectError, match="Expected a network with batch norms for recovery by b"):
        sweep(Odd(), data, tmp_path / "s")
    with sweep(Odd(), data, tmp_path / "s", recover="finetune:1") as study:
        assert {len(study.outcomes(one)) for one in study.lesions} == {16}


def test_a_network_that_cannot_be_copied_is_refused(tmp_path):
    network, data = networks.plain(20)
    network.stored = network.a.weight * 1
    with pytest.raises(SubjectError, match=r"Expected a network that copy\.deepcopy copies"):
        sweep(network, data, tmp_path / "s", recover="finetune:2")


def test_a_recovery_that_diverges_is_a_row_with_a_reason(tmp_path):
    network, data = networks.plain(40)
    with sweep(network, data, tmp_path / "s", recover="finetune:40,lr=1e30") as study:
        assert set(study.failed) == set(study.lesions)
        rows = curves(study)
        assert set(rows["reason"][rows["amount"].notna()]) == {
            "its outputs are not finite (NaN or infinity)"
        }


def test_a_data_loader_brings_its_collate_function(tmp_path):
    network, data = networks.plain(40)

    def named(items):
        images, labels = zip(*items, strict=True)
        return {"x": torch.stack(images), "label": torch.stack(labels)}

    loader = DataLoader(training(), collate_fn=named)
    with (
        sweep(network, data, tmp_path / "a", train=loader) as one,
        sweep(network, data, tmp_path / "b") as other,
    ):
        assert content(one) == content(other)


def test_a_users_score_finetunes_by_what_its_targets_are(tmp_path):
    """Class numbers a pixel: the cross-entropy of a segmentation network."""
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
                            nn.Conv2d(6, 3, 1)).eval()  # fmt: skip
    images = torch.randn(170, 1, 8, 8)
    masks = (images[:, 0] > 0).long() + (images[:, 0] > 1).long()
    data, train = TensorDataset(images[:40], masks[:40]), TensorDataset(images[40:], masks[40:])

    def right(outputs, targets):
        return (outputs.argmax(1) == targets).double().mean((1, 2))

    options = {"score": right, "ratios": (0.5,), "full": True}
    for recovery in ("", "bn", "finetune:60,lr=0.1"):
        extra = {"train": train} if recovery else {}
        sweeping.sweep(network, data, tmp_path / "s", recover=recovery, **extra, **options).close()
    with Study.open(tmp_path / "s") as study:
        mean = {one.recovery: study.outcomes(one)["score"].mean() for one in study.lesions}
    assert mean["finetune:60,lr=0.1"] > 0.8 > mean[""]
