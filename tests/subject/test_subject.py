import collections
import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    SubsetRandomSampler,
    TensorDataset,
)

from lesion.errors import SubjectError
from lesion.subject.adapter import BatchAdapter, Unlabelled, without_labels
from lesion.subject.batch import describe, logits, moved, output
from lesion.subject.ground_truth import check_labels, class_numbers, rows_of
from lesion.subject.images import Images, digests
from lesion.subject.network import device_of, evaluating, try_out
from lesion.subject.subject import Subject, judged, named
from lesion.subject.weights import check_weights, fingerprint


class Squares(Dataset):
    """Image i is [i², 1], its label i modulo 3."""

    def __init__(self, n=10):
        self.n = n

    def __len__(self):
        return self.n

    def __getitem__(self, index):
        if not 0 <= index < self.n:
            raise IndexError(index)
        return torch.tensor([float(index**2), 1.0]), index % 3


class Broken(Squares):
    def __getitem__(self, index):
        if index == 4:
            raise OSError("disk on fire")
        return super().__getitem__(index)


class Dicts(Squares):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return {"pixel_values": image, "scale": torch.tensor([2.0]), "labels": label}


class ByName(nn.Module):
    """A network in the style of Hugging Face: inputs by name, an object with .logits out."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 3)

    def forward(self, pixel_values, scale):
        Output = collections.namedtuple("Output", "hidden logits")
        return Output(pixel_values, self.head(pixel_values) * scale)


class TwoInputs(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(2, 3)

    def forward(self, a, b):
        return {"aux": self.head(a), "out": self.head(a) - self.head(b)}


class Returns(nn.Module):
    """Gives back whatever it was made with, whatever it is given."""

    def __init__(self, outputs):
        super().__init__()
        self.outputs = outputs

    def forward(self, x):
        return self.outputs


def pairs(n=10):
    return TensorDataset(torch.randn(n, 2), torch.arange(n) % 3)


# --- adapter


def test_an_image_and_label_batch_runs_and_gives_its_labels():
    network, x = nn.Linear(2, 3), torch.randn(4, 2)
    assert torch.equal(BatchAdapter().forward(network, [x, torch.arange(4)]), network(x))
    assert torch.equal(BatchAdapter().targets((x, torch.arange(4))), torch.arange(4))


def test_a_dict_batch_is_passed_by_name():
    network = ByName()
    subject = Subject.of(network, Dicts())
    batch = subject.images.batch([3, 1])
    expected = 2 * network.head(torch.tensor([[9.0, 1.0], [1.0, 1.0]]))
    assert torch.equal(subject.outputs(network, batch), expected)
    assert subject.targets(batch).tolist() == [0, 1]


@pytest.mark.parametrize("target", ["labels", "label", "targets", "target"])
@pytest.mark.parametrize("image", ["pixel_values", "image", "images", "input"])
def test_a_single_entry_needs_no_name_that_the_network_knows(image, target):
    network, x = nn.Sequential(nn.Linear(2, 3)), torch.randn(4, 2)
    batch = {image: x, target: torch.arange(4)}
    assert torch.equal(BatchAdapter().forward(network, batch), network(x))
    assert torch.equal(BatchAdapter().targets(batch), torch.arange(4))


def test_an_entry_that_the_network_does_not_take_is_an_error():
    batch = {"x": torch.ones(1, 2), "file": ["a.png"], "label": torch.zeros(1)}
    with pytest.raises(SubjectError, match=r"forward takes \(a, b\), got x, file; rename or"):
        BatchAdapter().forward(TwoInputs(), batch)


def test_several_inputs_are_passed_in_order():
    network, a, b = TwoInputs(), torch.randn(5, 2), torch.randn(5, 2)
    subject = Subject.of(network, TensorDataset(a, b, torch.arange(5) % 3))
    outputs = subject.outputs(network, subject.images.batch(range(5)))
    assert torch.allclose(outputs, network.head(a) - network.head(b))


def test_inputs_in_a_dict_beside_the_labels():
    batch = ({"a": torch.ones(1, 2), "b": torch.zeros(1, 2)}, torch.tensor([2]))
    network = TwoInputs()
    assert torch.equal(logits(BatchAdapter().forward(network, batch)), logits(network(**batch[0])))


@pytest.mark.parametrize("batch", [torch.ones(2, 2), (torch.ones(2, 2),), {"image": torch.ones(2)}])
def test_missing_labels_are_an_error(batch):
    with pytest.raises(SubjectError, match=r"Expected batches with labels.*give labelled data"):
        BatchAdapter().targets(batch)


ONE = torch.ones(2, 3)
WITH_LOGITS = collections.namedtuple("WithLogits", "loss logits")(torch.zeros(4, 4), ONE)


@pytest.mark.parametrize(
    "outputs",
    [
        ONE, {"logits": ONE, "x": torch.zeros(1)}, {"out": ONE, "aux": torch.zeros(2, 3)},
        {"scores": ONE, "names": ["a"]}, (ONE, torch.zeros(2, 3)), [ONE], ("text", ONE),
        WITH_LOGITS,
    ],
)  # fmt: skip
def test_logits_are_found_in_outputs(outputs):
    assert logits(outputs) is ONE


@pytest.mark.parametrize(
    ("outputs", "came"),
    [
        ({"a": ONE, "b": ONE}, r"\{'a': float32 \(2, 3\), 'b'"),
        (torch.ones(2, 3, 8, 8), r"float32 \(2, 3, 8, 8\)"),
        (torch.ones(2, 3).int(), r"int32 \(2, 3\)"),
        ("nothing", "got str"),
    ],
)
def test_outputs_without_clear_logits_are_an_error(outputs, came):
    with pytest.raises(SubjectError, match=came):
        logits(outputs)


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 8, 8), (2,)])
def test_an_output_is_found_as_logits_are_whatever_its_shape(shape):
    tensor = torch.ones(shape)
    for outputs in (tensor, {"out": tensor, "aux": torch.zeros(1)}, ("text", tensor), [tensor]):
        assert output(outputs) is tensor
    for outputs in ("nothing", {"a": tensor, "b": tensor}, None):
        with pytest.raises(SubjectError, match="Expected one tensor among the network's outputs"):
            output(outputs)


def test_batches_without_labels_are_all_input():
    network, a, b = TwoInputs(), torch.randn(5, 2), torch.randn(5, 2)
    want = network(a, b)["out"]
    for batch in ((a, b), [a, b], {"a": a, "b": b}):
        assert torch.equal(Unlabelled().forward(network, batch)["out"], want)
        assert Unlabelled().targets(batch) is None
    head = nn.Linear(2, 3)
    for batch in (a, (a,), {"pixel_values": a}):
        assert torch.equal(Unlabelled().forward(head, batch), head(a))
    adapter = Returns(ONE)
    assert without_labels(BatchAdapter(), network, (a, b)) == Unlabelled()
    assert without_labels(adapter, network, (a, b)) is adapter


def test_what_a_network_does_not_need_is_a_target():
    class Skip(nn.Linear):
        def forward(self, x, scale=1.0):
            return super().forward(x) * scale

    class Open(nn.Linear):  # as ultralytics' detectors are
        def forward(self, x, *more, **named):
            return self.loss(x, *more) if more else super().forward(x)

    image, mask = torch.randn(5, 2), torch.rand(5, 7)
    for network in (nn.Linear(2, 3), Skip(2, 3), Open(2, 3)):
        for batch in ((image, mask), [image, mask, mask], (image, mask, ["names"] * 5)):
            adapter = without_labels(BatchAdapter(), network, batch)
            assert torch.equal(adapter.forward(network, batch), network(image))
        assert without_labels(BatchAdapter(), network, (image, ["names"] * 5)) == Unlabelled()
        assert without_labels(BatchAdapter(), network, image) == Unlabelled()


def test_rows_of_targets_are_those_of_all_tensors_in_them():
    masks, boxes = torch.arange(12).reshape(4, 3), [{"box": n} for n in range(4)]
    ragged = [torch.zeros(n, 4) for n in range(4)]
    for rows in ([2, 0], np.array([2, 0])):
        assert torch.equal(rows_of(masks, rows, 4), masks[[2, 0]])
        assert torch.equal(rows_of({"mask": masks}, rows, 4)["mask"], masks[[2, 0]])
        assert rows_of(boxes, rows, 4) == [{"box": 2}, {"box": 0}]
        assert [len(row) for row in rows_of(ragged, rows, 4)] == [2, 0]
        mask, names, weights = rows_of([masks, list("abcd"), torch.ones(9)], rows, 4)
        assert torch.equal(mask, masks[[2, 0]]) and names == ["c", "a"] and len(weights) == 9
    first, second = rows_of((masks[:2], masks[:2]), [1], 2)  # two kinds of targets, not two images
    assert torch.equal(first, masks[1:2]) and torch.equal(first, second)
    assert rows_of(None, [1], 4) is None


@given(st.lists(st.integers(0, 255), max_size=9))
def test_class_numbers_keep_values_whatever_the_integer_type(values):
    for given_ in (
        torch.tensor(values, dtype=torch.uint8),
        torch.tensor(values).long().view(-1, 1),
    ):
        numbers = class_numbers(given_)
        assert numbers.dtype == torch.int64 and numbers.tolist() == values


@pytest.mark.parametrize(
    "labels", [torch.ones(2), torch.eye(3).int(), ["cat", "dog"], torch.tensor(3), None]
)
def test_labels_that_are_no_class_numbers_are_an_error(labels):
    with pytest.raises(SubjectError, match=r"Expected labels that are class numbers"):
        class_numbers(labels)


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_outside_the_outputs_are_an_error(label):
    check_labels(torch.tensor([0, 2]), 3)
    with pytest.raises(SubjectError, match=f"from 0 to 2.*3 outputs, got {label};"):
        check_labels(torch.tensor([0, label, 2]), 3)


def test_moving_keeps_the_shape_of_a_batch():
    Pair = collections.namedtuple("Pair", "x y")
    batch = [Pair(torch.ones(1), {"a": torch.ones(2), "b": "text"}), (3,)]
    on_meta = moved(batch, torch.device("meta"))
    assert on_meta[0].x.device.type == on_meta[0].y["a"].device.type == "meta"
    assert isinstance(on_meta[0], Pair) and on_meta[0].y["b"] == "text" and on_meta[1] == (3,)


def test_describe_names_types_and_shapes():
    assert describe({"x": torch.zeros(2, 1), "y": [1, 2, 3, 4, 5]}) == (
        "{'x': float32 (2, 1), 'y': [int, int, int, int, …]}"
    )


# --- images


@pytest.mark.parametrize("workers", [0, 2])
def test_images_come_by_index_in_the_order_asked_for(workers):
    images = Images.of(Squares(), workers)
    plan = [[7, 2], [2], [0, 1, 9]]
    read = [batch[0][:, 0].tolist() for batch in images.batches(plan)]
    assert read == [[49.0, 4.0], [4.0], [0.0, 1.0, 81.0]]
    assert torch.equal(images.batch([7, 2])[1], torch.tensor([1, 2]))
    assert len(images) == 10


def summed(items):
    return sum(image for image, _ in items), torch.tensor([len(items)])


def test_a_loader_gives_its_dataset_collate_function_and_workers():
    data = Squares()
    images = Images.of(DataLoader(data, 4, shuffle=True, collate_fn=summed, num_workers=2))
    assert images.dataset is data and images.workers == 2
    assert images.batch([1, 2])[0].tolist() == [5.0, 2.0]


@pytest.mark.parametrize("workers", [0, 1])
def test_reading_leaves_torchs_random_numbers_alone(workers):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    list(Images.of(Squares(), workers).batches([[1], [2]]))
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_unreadable_image_is_named_in_one_line(workers):
    images = Images.of(Broken(), workers)
    with pytest.raises(SubjectError) as caught:
        list(images.batches([[1, 2], [3, 4]]))
    assert str(caught.value) == (
        "Expected an image at index 4 of the data, but reading it failed: "
        "OSError: disk on fire; mend it or leave it out."
    )


@pytest.mark.parametrize(
    ("items", "what"),
    [
        (
            [(torch.zeros(1, 2, 4), 0), (torch.zeros(1, 3, 3), 1)],
            "got sizes such as 1x2x4 and 1x3x3; give images of one size (--resize and --crop)",
        ),
        (
            [(Image.new("L", (4, 2)), 0), (Image.new("L", (4, 2)), 1)],
            "got Image of PIL; give the data set a transform that makes tensors, such as "
            "torchvision.transforms.ToTensor()",
        ),
    ],
)
def test_what_makes_no_batch_is_named_with_what_to_do(items, what):
    with pytest.raises(SubjectError) as caught:
        Images.of(items).batch([0, 1])
    text = f"Expected images that make a batch, {what}, or a DataLoader with a collate_fn."
    assert str(caught.value) == text


def test_items_that_differ_elsewhere_give_the_reason_of_the_collate_function():
    data = [{"pixels": torch.zeros(2)}, {"picture": torch.zeros(2)}]
    with pytest.raises(SubjectError, match="a batch, but 'pixels'; give tensors of one size"):
        Images.of(data).batch([0, 1])


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(torch.zeros(2), 0)])


@pytest.mark.parametrize("data", [Stream(), DataLoader(Stream()), iter([1]), 5])
def test_data_without_an_index_are_refused_with_the_reason(data):
    with pytest.raises(SubjectError, match="read by index, so that every lesion sees the same"):
        Images.of(data)


def test_an_empty_dataset_is_refused():
    with pytest.raises(SubjectError, match="at least one image, got an empty Squares"):
        Images.of(Squares(0))


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"sampler": SubsetRandomSampler([1, 2])}, "SubsetRandomSampler"),
        ({"sampler": RandomSampler(Squares(), num_samples=4)}, "RandomSampler"),
        ({"batch_sampler": [[0, 1]]}, "list"),
    ],
)
def test_a_loader_that_chooses_images_is_refused(options, name):
    with pytest.raises(SubjectError, match=f"chooses them with {name}; give .*Subset"):
        Images.of(DataLoader(Squares(), **options))
    assert len(Images.of(DataLoader(Subset(Squares(), [1, 2]), shuffle=True))) == 2


def test_a_loader_without_batches_is_refused():
    with pytest.raises(SubjectError, match="batch_size=None"):
        Images.of(DataLoader(Squares(), batch_size=None))


def test_a_digest_is_the_start_of_a_hash_of_names_types_shapes_and_values():
    x, y = torch.tensor([[[1.0, 2.0]], [[3.0, 4.0]]]), torch.tensor([5, 6])
    hashes = digests({"x": x.transpose(1, 2), "y": [y], "z": torch.zeros(2, 0)}, 2)
    text = b".x torch.float32 (2, 1)\n" + np.array([3, 4], np.float32).tobytes()
    text += b".y.0 torch.int64 ()\n" + np.array([6]).tobytes() + b".z torch.float32 (0,)\n"
    assert hashes[1] == int.from_bytes(hashlib.sha256(text).digest()[:8], "little")


def test_digests_tell_other_images_labels_and_names_apart():
    a, b = torch.zeros(2, 2), torch.arange(2)
    same = digests((a, b), 2).tolist()
    assert same == digests([a.clone(), b.clone()], 2).tolist() and len(set(same)) == 2
    others = [(a + 1e-7, b), (a, b + 1), (a.view(2, 2, 1), b), (a.double(), b), {"a": a, "b": b},
              (a,)]  # fmt: skip
    hashes = [same, *(digests(changed, 2).tolist() for changed in others)]
    assert len({pair[0] for pair in hashes}) == 7


def test_an_images_digest_does_not_depend_on_those_beside_it():
    images, labels = torch.randn(5, 3), torch.arange(5)
    whole = digests({"x": images, "y": labels}, 5)
    for chosen in ([2], [4, 0, 2], [1, 3]):
        alone = digests({"x": images[chosen], "y": labels[chosen]}, len(chosen))
        assert alone.tolist() == whole[chosen].tolist()
    assert whole.dtype.name == "uint64"


# --- subject


def test_a_subject_holds_what_it_was_made_of():
    network, data = nn.Linear(2, 3), pairs()
    subject = Subject.of(network, data, preprocessing="none")
    assert subject.network is network and subject.images.dataset is data
    assert (subject.name, subject.preprocessing, subject.classes) == ("Linear", "none", 3)
    assert torch.equal(subject.example[0], data.tensors[0][:2])


def test_one_image_is_enough():
    assert len(Subject.of(nn.Linear(2, 3), pairs(1)).example[0]) == 1


def test_an_own_adapter_is_used():
    class Views:
        def forward(self, network, batch):
            return network(batch["views"][:, 0])

        def targets(self, batch):
            return batch["class"]

    data = [{"views": torch.full((2, 2), float(i)), "class": i} for i in range(3)]
    network = nn.Linear(2, 3)
    subject = Subject.of(network, data, adapter=Views())
    batch = subject.images.batch([2])
    assert torch.equal(subject.outputs(network, batch), network(torch.full((1, 2), 2.0)))
    assert subject.targets(batch).tolist() == [2]


def test_making_a_subject_changes_nothing_in_the_network():
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Dropout())
    network[1].eval()
    before = fingerprint(network)
    Subject.of(network, pairs())
    assert fingerprint(network) == before
    assert [module.training for module in network] == [True, False, True]


def test_modes_come_back_after_an_exception():
    network = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with pytest.raises(KeyboardInterrupt), evaluating(network):
        assert not network.training and not network[0].training
        raise KeyboardInterrupt
    assert (network.training, network[0].training, network[1].training) == (True, True, False)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_named(value):
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    check_weights(network)
    network[1].running_var[1] = value
    with pytest.raises(SubjectError, match=r"in 1 of 3 values of '1\.running_var'"):
        Subject.of(network, pairs())


def test_the_size_of_images_that_do_not_fit_is_shown():
    with pytest.raises(SubjectError) as caught:
        Subject.of(nn.Conv2d(1, 3, 3), [(torch.zeros(3, 8, 8), 0)] * 2)
    text = str(caught.value)
    assert "[float32 (2, 3, 8, 8), int64 (2,)]" in text and "--resize, --crop" in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("outputs", "text"),
    [
        (torch.full((2, 3), torch.nan), "Expected finite outputs, got NaN or infinity"),
        (torch.zeros(1, 3), "got 1 rows for 2 images"),
        (torch.zeros(2, 1), "labels from 0 to 0, because the network has 1 outputs, got 1"),
        (torch.zeros(2), r"logits of shape \(images, classes\).*got float32 \(2,\)"),
    ],
)
def test_outputs_that_cannot_be_scored_are_an_error(outputs, text):
    with pytest.raises(SubjectError, match=text):
        Subject.of(Returns(outputs), pairs())


class Masks(Squares):
    """The label is a mask, one number a pixel."""

    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image.expand(3, 2), torch.tensor([label, 0, 1])


def score(outputs, targets):
    return (outputs.argmax(1) == targets).float().mean(1)


def test_a_users_score_takes_outputs_and_targets_of_any_shape():
    class PerPixel(nn.Conv1d):
        def forward(self, x):
            return {"out": super().forward(x.mT), "aux": x}

    network = PerPixel(2, 4, 1)
    subject = Subject.of(network, Masks(), score=score)
    batch = subject.images.batch([3, 5])
    assert subject.classes == 0 and subject.tally.columns == ("score",)
    assert subject.outputs(network, batch).shape == (2, 4, 3)
    assert subject.targets(batch).tolist() == [[0, 0, 1], [2, 0, 1]]
    assert subject.score == named(score) == f"{__name__}:score"
    assert judged(subject.score) == "score" and judged("tv") == named("tv") == "tv"


@pytest.mark.parametrize("name", ["agreement", "tv"])
def test_without_labels_the_whole_batch_is_input(name):
    inputs = [torch.full((2,), float(index)) for index in range(4)]
    network = nn.Linear(2, 3)
    subject = Subject.of(network, inputs, score=name)
    batch = subject.images.batch([1, 2])
    assert subject.targets(batch) is None and subject.score == name
    assert torch.equal(subject.outputs(network, batch), network(batch))
    assert subject.tally.columns == ("agreement", "tv")[: 1 + (name == "tv")]
    two = Subject.of(TwoInputs(), [(x, 2 * x) for x in inputs], score=name)
    outputs = two.outputs(two.network, two.images.batch([1]))
    assert torch.allclose(outputs, two.network(inputs[1][None], 2 * inputs[1][None])["out"])
    by_name = Subject.of(TwoInputs(), [{"a": x, "b": 2 * x} for x in inputs], score=name)
    assert by_name.outputs(by_name.network, by_name.images.batch([0])).shape == (1, 3)


@pytest.mark.parametrize("name", ["agreement", "tv"])
def test_labels_that_are_there_are_kept_for_every_score(name):
    subject = Subject.of(nn.Linear(2, 3), pairs(), score=name)
    assert subject.targets(subject.example).tolist() == [0, 1]
    assert subject.tally.columns[:4] == ("top1", "top5", "agreement", "loss")


@pytest.mark.parametrize("name", ["top1", "top5"])
def test_hits_need_labels(name):
    with pytest.raises(SubjectError, match=r"Expected batches with labels.*give labelled data"):
        Subject.of(nn.Linear(2, 3), [torch.zeros(2)] * 3, score=name)


def test_a_score_that_does_not_fit_is_said_at_once():
    with pytest.raises(SubjectError) as caught:
        Subject.of(nn.Linear(2, 3), pairs(), score="accuracy")
    assert str(caught.value) == (
        "Expected a score top1, top5, agreement or tv, or a function, got 'accuracy'."
    )
    for wrong, text in (
        (lambda outputs, _: outputs[:, 0] * 0 + 5, "Expected scores from 0 to 1, got 5: scale"),
        (lambda outputs, _: 0.5, r"one score an image, 2 in all, got an array of shape \(\)"),
    ):
        with pytest.raises(SubjectError, match=text):
            Subject.of(nn.Linear(2, 3), pairs(), score=wrong)
    with pytest.raises(SubjectError, match="Expected one tensor among the network's outputs"):
        Subject.of(Returns({"a": ONE, "b": ONE}), pairs(), score=score)


def test_labels_are_checked_at_every_batch():
    data = TensorDataset(torch.zeros(3, 2), torch.tensor([0, 1, 7]))
    subject = Subject.of(nn.Linear(2, 3), data)
    with pytest.raises(SubjectError, match="got 7"):
        subject.targets(subject.images.batch([2]))


def test_a_network_must_be_a_module():
    with pytest.raises(SubjectError, match=r"Expected a torch.nn.Module, got OrderedDict"):
        Subject.of(nn.Linear(2, 3).state_dict(), pairs())


def test_the_fingerprint_is_the_hash_it_says():
    network = nn.Linear(2, 1, dtype=torch.float64)
    sha = hashlib.sha256()
    for name, shape in (("bias", "(1,)"), ("weight", "(1, 2)")):
        sha.update(f"{name} torch.float64 {shape}\n".encode())
        sha.update(network.state_dict()[name].numpy().tobytes())
    assert fingerprint(network) == sha.hexdigest()


@given(st.integers(0, 5), st.booleans())
def test_the_fingerprint_sees_one_changed_bit(place, buffer):
    network = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = fingerprint(network)
    tensor = network[1].running_mean if buffer else network[0].weight.data
    flat = tensor.view(-1)
    flat[place % len(flat)] = torch.nextafter(flat[place % len(flat)], torch.tensor(9.0))
    assert fingerprint(network) != before


def test_the_fingerprint_takes_every_type():
    network = nn.BatchNorm1d(3).to(torch.bfloat16)  # and a 0-d int64 counter
    network.register_buffer("mask", torch.tensor([True, False]))
    network.register_buffer("none", torch.zeros(0))
    before = fingerprint(network)
    network.mask[1] = True
    assert fingerprint(network) != before


def test_the_device_is_that_of_the_first_tensor():
    assert device_of(nn.Linear(1, 1, device="meta")).type == "meta"
    assert device_of(nn.ReLU()).type == "cpu"


def test_a_network_of_another_precision_than_the_images_is_named():
    network, images = nn.Linear(3, 2).half(), torch.zeros(2, 3)
    with pytest.raises(SubjectError, match=r"network of float16.*give the network in float32"):
        try_out(network, Unlabelled(), images)
