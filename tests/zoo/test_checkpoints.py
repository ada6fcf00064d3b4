import io
import pickle

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lesion.errors import SubjectError
from lesion.zoo import checkpoints


def network():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4, 2))


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.values(), b.values(), strict=True))


@pytest.mark.parametrize("suffix", ["safetensors", "pt", "legacy"])
def test_weights_come_back_from_every_kind_of_file(tmp_path, suffix):
    source, target, path = network().state_dict(), network(), tmp_path / f"w.{suffix}"
    if suffix == "safetensors":
        save_file(source, path)
    else:
        torch.save(source, path, _use_new_zipfile_serialization=suffix == "pt")
    checkpoints.load(target, path)
    assert same(target.state_dict(), source)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("wrapper", [None, "state_dict", "model_state_dict", "model", "net"])
def test_wrappers_and_prefixes_are_understood(tmp_path, wrapper, prefix):
    source, target, path = network().state_dict(), network(), tmp_path / "w.pt"
    content = {prefix + name: tensor for name, tensor in source.items()}
    if wrapper:
        content = {"epoch": 3, "best": torch.tensor(71.0), "optimizer": {}, wrapper: content}
    torch.save(content, path)
    checkpoints.load(target, path)
    assert same(target.state_dict(), source)


def test_nested_wrappers_are_understood(tmp_path):
    source, path = network().state_dict(), tmp_path / "w.pt"
    torch.save({"model": {"state_dict": source}}, path)
    assert same(checkpoints.read(path), source)


def test_a_prefix_that_the_network_has_itself_stays():
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = nn.Linear(2, 2)

    wrapped = Wrapped()
    state = wrapped.state_dict()
    assert list(checkpoints.fitted(state, wrapped, "f")) == ["model.weight", "model.bias"]


def test_a_missing_counter_of_batch_norm_is_no_mismatch():
    state = network().state_dict()
    del state["1.num_batches_tracked"]
    assert checkpoints.fitted(state, network(), "f") is state


def complaint(state):
    with pytest.raises(SubjectError) as caught:
        checkpoints.fitted(state, network(), "w.pt")
    return str(caught.value)


def test_every_kind_of_mismatch_is_named():
    state = network().state_dict()
    state["head"] = state.pop("1.bias")
    state["3.weight"] = torch.zeros(10, 4)
    text = complaint(state)
    assert text.startswith("Expected weights of this Sequential, but those in w.pt do not fit: ")
    assert "missing '1.bias'; unexpected 'head'; '3.weight' is (10, 4) instead of (2, 4);" in text


def test_only_the_first_mismatches_are_named():
    text = complaint({"a": torch.zeros(1)})
    assert "missing '0.weight', '0.bias', '1.weight' and 5 more; unexpected 'a';" in text


def test_a_file_that_does_not_fit_changes_nothing(tmp_path):
    target, state = network(), network().state_dict()
    before = {name: tensor.clone() for name, tensor in target.state_dict().items()}
    state["3.weight"] = torch.zeros(10, 4)
    torch.save(state, tmp_path / "w.pt")
    with pytest.raises(SubjectError):
        checkpoints.load(target, tmp_path / "w.pt")
    assert same(target.state_dict(), before)


class Bomb:
    """Unpickling it writes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (open, (str(self.path), "w"))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path, zipped):
    path, traces = tmp_path / "w.pt", tmp_path / "traces"
    content = {"state_dict": network().state_dict(), "x": Bomb(traces)}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(SubjectError, match=r"pickled Python objects \(\S*open\).*can run code; sa"):
        checkpoints.read(path)
    assert not traces.exists()


def test_a_bare_pickle_does_not_run_either(tmp_path):
    path, traces = tmp_path / "w.pt", tmp_path / "traces"
    path.write_bytes(pickle.dumps(Bomb(traces)))
    with pytest.raises(SubjectError, match=r"Expected "):
        checkpoints.read(path)
    assert not traces.exists()


def test_a_whole_network_is_refused(tmp_path):
    torch.save(network(), tmp_path / "w.pt")
    with pytest.raises(SubjectError, match=r"objects \(torch\.nn.*save the weights alone, with"):
        checkpoints.read(tmp_path / "w.pt")


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_torchscript_program_is_refused(tmp_path):
    torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "w.pt")
    with pytest.raises(SubjectError, match=r"a TorchScript program.*save the weights alone"):
        checkpoints.read(tmp_path / "w.pt")


def saved():
    buffer = io.BytesIO()
    torch.save(network().state_dict(), buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("content", [b"", b"hello, these are no weights", saved()[:-200]])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_a_damaged_file_is_an_error(tmp_path, content, suffix):
    path = tmp_path / f"w.{suffix}"
    path.write_bytes(content)
    with pytest.raises(SubjectError, match=r"w\.\w+ cannot be read as .*damaged"):
        checkpoints.read(path)


def test_a_missing_file_is_an_error(tmp_path):
    with pytest.raises(SubjectError, match=r"a file of weights at .*w\.pt, found none"):
        checkpoints.read(tmp_path / "w.pt")


@pytest.mark.parametrize(
    ("content", "came"), [({"epoch": 1}, "a dict of epoch"), ([1], "a list"), ({}, "of nothing")]
)
def test_a_file_without_tensors_is_an_error(tmp_path, content, came):
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(SubjectError, match=f"Expected a state_dict .*got .*{came}"):
        checkpoints.read(tmp_path / "w.pt")


# --- tensors that are no weights


def spoiled(name, change):
    state = network().state_dict()
    state[name] = change(state[name])
    return state


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda one: one.to_sparse(), r"sparse \(sparse_coo\)"),
        (lambda one: one.to_sparse_csr(), r"sparse \(sparse_csr\)"),
        (lambda one: one.to(torch.complex64), "complex"),
        (lambda one: (10 * one).to(torch.int8), "int8"),
        (lambda one: one > 0, "bool"),
        (lambda one: one.to("meta"), r"without values \(on the device meta\)"),
        (lambda one: torch.quantize_per_tensor(one, 0.1, 0, torch.qint8), "quantised"),
    ],
)
def test_tensors_whose_values_would_change_are_refused(tmp_path, change, kind):
    path, target = tmp_path / "w.pt", network()
    torch.save(spoiled("3.weight", change), path)
    with pytest.raises(SubjectError, match=rf"float32.* '3\.weight' in w\.pt is {kind}; save"):
        checkpoints.load(target, path)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_floats_of_other_widths_are_weights(tmp_path, dtype):
    path, target = tmp_path / "w.pt", network()
    source = spoiled("3.weight", lambda tensor: tensor.to(dtype))
    torch.save(source, path)
    checkpoints.load(target, path)
    assert torch.equal(target.state_dict()["3.weight"], source["3.weight"].float())


def test_a_checkpoint_that_contains_itself_is_an_error(tmp_path):
    content = {"epoch": 1}
    content["model"] = content
    wrapper = {"state_dict": content}
    for held in (content, wrapper):
        torch.save(held, tmp_path / "w.pt")
        with pytest.raises(SubjectError, match=r"Expected a state_dict .*got a dict of epoch, mod"):
            checkpoints.read(tmp_path / "w.pt")
