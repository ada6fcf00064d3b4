"""Studies whose layers, classes and network bear names that try to be more than names."""

from dataclasses import replace

import planted

NAMES = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>\"'&amp;",
    "\x1b[31mred\x07\u2028\u2029\u202ecba",
    "x" * 500,
    "=1+1{{ 7 * 7 }}{% raw %}",
)


def study(path, **more):
    """The planted study with these names."""
    head = planted.header
    try:
        planted.header = lambda *given: renamed(head(*given))
        return planted.study(path, **more)
    finally:
        planted.header = head


def renamed(head):
    """The header with these names of free layers and the network."""
    body = head.anatomy
    free = [unit.name for unit in body.units if unit.kind == "free"]
    names = dict(zip(free, NAMES, strict=False))

    def new(name):
        return names.get(name, name)

    layers = tuple(
        replace(layer, name=new(layer.name), unit=new(layer.unit)) for layer in body.layers
    )
    units = tuple(
        replace(unit, name=new(unit.name), layers=tuple(map(new, unit.layers)))
        for unit in body.units
    )
    settings = {**head.settings, "name": NAMES[0] + NAMES[1]}
    return replace(head, anatomy=replace(body, layers=layers, units=units), settings=settings)
