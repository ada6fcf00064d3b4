"""One thread a test process, for two that use all cores slow each other down; and no test fails for
being slow: how long one takes on a loaded machine says nothing of what it tests."""

import matplotlib
import torch
from hypothesis import HealthCheck, settings

matplotlib.use("Agg")
torch.set_num_threads(1)
settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")
