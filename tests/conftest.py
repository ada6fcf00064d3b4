"""One thread a test process: two that use all cores slow each other down."""

import matplotlib
import torch

matplotlib.use("Agg")
torch.set_num_threads(1)
