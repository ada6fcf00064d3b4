"""Layers of the ranks that variational Bayes finds: what a study says of them."""

import networks
import pytest
import torch

import lesion
from lesion.compression.vbmf import of_weakened_rank, weakened_ranks
from lesion.errors import LesionError
from lesion.lesions.damage import damage
from lesion.lesions.layer_damage import shape_of
from lesion.network.dissect import dissect


def test_a_study_tells_what_the_ranks_save(tmp_path):
    network, data = networks.plain(40)
    generator = torch.Generator().manual_seed(0)
    few = (torch.randn(len(network.b.weight), 2, generator=generator),
           torch.randn(2, network.b.weight[0].numel(), generator=generator))  # fmt: skip
    network.b.weight.data = (few[0] @ few[1]).reshape(network.b.weight.shape) / 10
    anatomy = dissect(network, lambda net, batch: net(batch), data.tensors[0][:2]).anatomy
    with lesion.sweep(network, data, tmp_path / "s", damage="vbmf", full=True,
                      holdout=0) as study:  # fmt: skip
        images, labels = (t[list(study.header.order)] for t in data.tensors)
        assert len({each.target for each in study.lesions}) == 3
        for each in study.lesions:
            module = network.get_submodule(each.target)
            weight = module.weight.detach().clone()
            form = "tucker2" if weight[0, 0].numel() > 1 else "svd"
            ranks = weakened_ranks(weight, form, each.amount)
            factors = shape_of(anatomy.layer[each.target]).factored(form, ranks)
            assert study.savings[each].left == factors
            module.weight.data = of_weakened_rank(weight, form, each.amount)
            with torch.no_grad():
                right = network(images).argmax(1) == labels
            module.weight.data = weight
            assert study.outcomes(each)["top1"].tolist() == right.tolist()
        reasons = {skipped.reason for skipped in study.skipped}
    assert reasons == {"vbmf: 0.25: factors of these ranks have no fewer MACs"}


def test_amounts_are_shares():
    for amount in (0.0, 1.1):
        with pytest.raises(LesionError, match="weakening"):
            damage("vbmf").amounts.check([amount])
