"""fasterai: the shares it is given make Torch-Pruning, which it uses, prune the right counts."""

import copy
import json

import allocations
import pytest
import removal

from lesion.exports.export import export


def test_shares_by_dotted_name():
    case = removal.small("depthwise_doubled")
    made = allocations.by_channels(case.dissection.anatomy, {"a": [1, 4]})
    values = json.loads(export(made, "fasterai", anatomy=case.dissection.anatomy))
    assert values["context"] == "local"
    assert values["pruning_ratio"] == {"a": 2 / 6, "d": 4 / 12}


@pytest.mark.complete
@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_in_the_real_package(name):
    pruner = pytest.importorskip("fasterai.prune.pruner")
    criteria = pytest.importorskip("fasterai.core.criteria")
    case = removal.family(name)
    made, network = allocations.mixed(case.dissection), copy.deepcopy(case.network).float()
    values = json.loads(export(made, "fasterai"))
    network.requires_grad_(True)
    ready = pruner.Pruner(
        network, values["pruning_ratio"], values["context"], criteria.large_final,
        example_inputs=case.x.float(),
    )  # fmt: skip
    ready.prune_model()
    modules = dict(network.named_modules())
    for layer in case.dissection.anatomy.layers:
        kept = len(made.filters.get(layer.name, range(layer.channels)))
        module = modules[layer.name]
        assert getattr(module, "out_channels", getattr(module, "out_features", None)) == kept, (
            layer.name
        )
