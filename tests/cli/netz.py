"""A user's file: a small network that nobody knows, with a planted answer, and bad versions of it.

Images are 8×8, and the class of one is the colour that it is made of: blue, green or red. `eingang`
passes the colours on in its first three filters, blue's with the smallest norm; its other five
filters are smaller still and lead nowhere. `zweig` adds nothing.
"""

import ctypes
import os
import sys
import time

import torch
from torch import nn
from torch.utils.data import Dataset

IMAGES = 60  # in the folder of images


class Zweig(nn.Module):
    def __init__(self):
        super().__init__()
        self.rein = nn.Conv2d(6, 4, 1, groups=2)
        self.norm = nn.BatchNorm2d(4)
        self.raus = nn.Conv2d(4, 6, 1)

    def forward(self, x):
        return x + self.raus(torch.relu(self.norm(self.rein(x))))


class Netz(nn.Module):
    def __init__(self):
        super().__init__()
        self.eingang = nn.Conv2d(3, 8, 1, bias=False)
        self.mitte = nn.Conv2d(8, 6, 1, bias=False)
        self.zweig = Zweig()
        self.kopf = nn.Linear(6, 3, bias=False)

    def forward(self, x):
        x = self.zweig(self.mitte(torch.relu(self.eingang(x))))
        return self.kopf(x.mean((2, 3)))


@torch.no_grad()
def trained():
    """The network with the planted weights."""
    network, generator = Netz(), torch.Generator().manual_seed(0)
    for weight in (network.eingang.weight, network.mitte.weight, network.kopf.weight):
        weight.zero_()
    for label, (channel, norm) in enumerate(((2, 1.0), (1, 1.5), (0, 2.0))):
        network.eingang.weight[label, channel] = norm
        network.mitte.weight[label, label] = 1 / norm
        network.kopf.weight[label, label] = 10.0
    network.eingang.weight[3:, 0, 0, 0] = 0.1 * torch.rand(5, generator=generator)
    network.zweig.raus.weight.zero_()
    network.zweig.raus.bias.zero_()
    return network


class Flaechen(nn.Module):
    """A class for every pixel."""

    def __init__(self):
        super().__init__()
        self.netz, self.raus = trained(), nn.Conv2d(6, 3, 1)

    def forward(self, x):
        return self.raus(self.netz.mitte(torch.relu(self.netz.eingang(x))))


class Masken(Dataset):
    """Images, each with a map of classes."""

    def __len__(self):
        return 40

    def __getitem__(self, index):
        image = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(index))
        return image, image.argmax(0)


def treffer(outputs, maps):
    """The share of an image's pixels whose class is hit."""
    return (outputs.argmax(1) == maps).double().mean((1, 2))


class NotFinite(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return torch.log(-1 - self.conv(x).abs()).mean((2, 3))


PAUSE = float(os.environ.get("PAUSE", "0.003"))  # seconds an image, longer on a busy machine


class Slow(Dataset):
    """Images that take a while each, so that there is time to interrupt."""

    def __len__(self):
        return 400

    def __getitem__(self, index):
        time.sleep(PAUSE)
        image = torch.full((3, 8, 8), 0.1)
        image[2 - index % 3] = 0.5 + 0.0001 * index
        return image, index % 3


class Augmented(Slow):
    def __getitem__(self, index):
        image, label = super().__getitem__(index)
        return image + torch.rand(()), label


class Drifting(Slow):
    """Slowly drifts: another image after every three hundred reads, as from a live camera."""

    reads = 0

    def __getitem__(self, index):
        Drifting.reads += 1
        image, label = super().__getitem__(index)
        return image + Drifting.reads // 300, label


class Unlabelled(Slow):
    def __getitem__(self, index):
        return super().__getitem__(index)[0]


class Empty(Slow):
    def __len__(self):
        return 0


class Loud(Netz):
    """Its library prints to the process's output, as C code does."""

    def __init__(self):
        super().__init__()
        ctypes.CDLL(None).puts(b"noise of a library")


def leaving(*_):
    """Ends the process as if all was well: a factory, a score, an evaluation or a recovery."""
    sys.exit(0)


class LeavingAtOnce(Netz):
    def __init__(self):
        exit()


class Leaving(Netz):
    def forward(self, x):
        sys.exit(0)


class LeavingLater(Netz):
    """It runs as a whole, image sums being asked for, and ends the process amid the sweep."""

    runs = 0

    def forward(self, x):
        LeavingLater.runs += float(x.sum()) > 0
        if LeavingLater.runs > 25:
            sys.exit(0)
        return super().forward(x)


class LeavingData(Slow):
    def __getitem__(self, index):
        if index == 399:
            sys.exit()
        return super().__getitem__(index)


class Talking(Netz):
    """It prints when it is made and when it runs, as people's code does."""

    def __init__(self):
        super().__init__()
        print("made by print")

    def forward(self, x):
        print("run by print")
        return super().forward(x)


def whole(network):
    """An evaluation of a whole network."""
    return float(network(torch.ones(1, 3, 8, 8)).softmax(1)[0, 0])
