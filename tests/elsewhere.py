"""Sweeps whose tasks are measured here or elsewhere, and all that their studies hold."""

import networks
import torch
from torch.utils.data import TensorDataset

from lesion.study.aim import Aim
from lesion.subject.subject import Subject
from lesion.sweeps.choices import Choices
from lesion.sweeps.goals import Decide, Full, Narrow
from lesion.sweeps.prepare import prepare
from lesion.sweeps.runners import here


class Here(here.Runner):
    """The runner of this process, which has nothing to close."""

    def close(self):
        pass


GOALS = {"full": Full(), "decide": Decide(Aim(10.0)), "narrow": Narrow(Aim(half_width=6.0))}


def outcomes(path, goal, runner, recovery=""):
    """All that a study holds of a sweep with a runner."""
    network, data = networks.plain(300)
    train = TensorDataset(torch.randn(130, *data.tensors[0].shape[1:]), torch.arange(130) % 3)
    subject = Subject.of(network, data, train=train if recovery else None)
    choices = Choices((0.25, 0.75), recovery=recovery)
    ready = prepare(subject, path, choices, goal, runner=runner, memory=1 << 26)
    list(ready)
    runner.close()
    with ready.study as study:
        intact = study.intact()
        return (
            [(intact.margin.tobytes(), intact.digest.tobytes())],
            [(key.key, *map(bytes, _columns(study.outcomes(key)))) for key in study.lesions],
            study.recoveries,
        )


def _columns(part):
    return [part.images.tobytes(), *(values.tobytes() for values in part.columns.values())]
