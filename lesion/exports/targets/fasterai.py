"""fasterai (written for 0.4.1): the share of filters that each layer loses.

    rates = json.load(open("rates.json"))
    Pruner(model, rates["pruning_ratio"], rates["context"], large_final, example_inputs=x)

Its `Pruner` takes a dict of dotted names and fractions (since 0.4; before that too, though single
ratios were per cent) with context "local", and leaves layers that are not in it whole.  It chooses
the filters itself, by its criteria: as many fall as the rates say, not always the same ones.
"""

import json

from lesion.exports.layer_ratios import shares
from lesion.exports.origin import about
from lesion.exports.targets import Handover

SUFFIX = ".json"


def content(given: Handover) -> str:
    """JSON with `pruning_ratio` and `context` as `fasterai.prune.pruner.Pruner` takes them."""
    by_layer = shares(given.allocation, given.anatomy)
    ratios = {layer: share.leaving for layer, share in by_layer.items()}
    values = {**about(given.allocation), "pruning_ratio": ratios, "context": "local"}
    return json.dumps(values, indent=2) + "\n"
