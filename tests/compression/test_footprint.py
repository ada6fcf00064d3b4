"""What compressed layers cost: the table of one layer, and files that are really packed so."""

from itertools import pairwise

import numpy as np
import pytest
import torch

from lesion.compression.codebooks import codebook
from lesion.compression.footprint import Footprint, Saving, Shape
from lesion.compression.grains import n_of_m, sparse
from lesion.compression.levels import binary
from lesion.compression.uniform import sparse_uniform, uniform

# 64 → 128 channels, 3×3, stride 1, 16×16 out, no bias
CONV = Shape(128, 64, (3, 3), (16, 16), (16, 16))
P, MACS, BYTES = 73_728, 18_874_368, 294_912


def test_the_intact_layer():
    assert CONV.intact() == Footprint(P, 8 * BYTES, MACS, MACS, MACS * 1024)
    assert CONV.intact().bytes == BYTES


@pytest.mark.parametrize(
    ("left", "kept", "macs", "size", "share"),
    [
        (CONV.sparse(P // 2, 0, dense=False), 36_864, 9_437_184, 147_456, 0.5000),
        (CONV.sparse(P // 2, P), 36_864, 9_437_184, 156_672, 0.5312),
        (CONV.n_of_m(P // 2, 4), 36_864, 9_437_184, 156_672, 0.5312),
        (CONV.sparse(7_372, P), 7_372, 1_887_232, 38_704, 0.1312),
        (CONV.sparse(P // 2, CONV.group_count("kernel")), 36_864, 9_437_184, 148_480, 0.5035),
        (CONV.sparse(P // 2, CONV.group_count("column"), dense=False),
         36_864, 9_437_184, 147_528, 0.5002),
        (CONV.quantised(8, 128), P, MACS, 74_240, 0.2517),
        (CONV.quantised(4, 128), P, MACS, 37_376, 0.1267),
        (CONV.quantised(2, 128), P, MACS, 18_944, 0.0642),
        (CONV.shared(4, 16), P, MACS, 36_928, 0.1252),
        (CONV.quantised(1, 128), P, MACS, 9_728, 0.0330),
        (CONV.quantised(2, 1), P, MACS, 18_436, 0.0625),
        (CONV.factored("spatial", (96,)), 55_296, 14_155_776, 221_184, 0.7500),
        (CONV.factored("svd", (64,)), 45_056, 11_534_336, 180_224, 0.6111),
        (CONV.factored("tucker2", (32, 64)), 28_672, 7_340_032, 114_688, 0.3889),
        (CONV.factored("cp", (64,)), 12_672, 3_244_032, 50_688, 0.1719),
    ],
)  # fmt: skip
def test_one_layer_under_every_damage(left, kept, macs, size, share):
    assert (left.parameters, left.macs, left.bytes) == (kept, macs, size)
    assert size / BYTES == pytest.approx(share, abs=5e-5)
    assert 1 - Saving(CONV.intact(), left).shares["bytes"] == pytest.approx(share, abs=5e-5)


def test_codebooks_of_product_quantisation_outweigh_their_indices():
    left = CONV.in_vectors(8, 8)
    assert left.bits == 73_728 + 524_288
    assert left.bits / (32 * P) == pytest.approx(0.2535, abs=5e-5)


def test_dense_kernels_gain_by_what_leaves_a_smaller_matrix_alone():
    half = P // 2
    assert CONV.sparse(half, P).dense_macs == CONV.n_of_m(half, 4).dense_macs == MACS
    assert CONV.sparse(half, 576, dense=False).dense_macs == MACS // 2


@pytest.mark.parametrize(
    ("form", "layer", "even"),
    [
        ("spatial", CONV, 128),
        ("svd", CONV, 104.7),
        ("cp", CONV, 372.4),
        ("svd", Shape(512, 100), 83.66),
    ],
)
def test_ranks_at_which_factors_save_nothing(form, layer, even):
    whole = layer.numbers
    below, above = (layer.factored(form, (int(even) + step,)).parameters for step in (0, 1))
    assert below <= whole < above
    assert whole / layer.factored(form, (1,)).parameters == pytest.approx(even, abs=0.06)


def test_strides_count_where_each_factor_runs():
    strided = Shape(128, 64, (3, 3), (8, 8), (16, 16))
    assert strided.factored("spatial", (10,)).macs == 10 * (64 * 3 * 8 * 16 + 128 * 3 * 8 * 8)
    assert strided.factored("tucker2", (4, 6)).macs == 64 * 4 * 256 + (4 * 6 * 9 + 6 * 128) * 64
    assert strided.factored("cp", (5,)).macs == 5 * (
        64 * 256 + 3 * 8 * 16 + 3 * 8 * 8 + 128 * 8 * 8
    )


def test_bit_operations_of_a_perceptron():
    sizes = (16, 64, 32, 32, 5)
    layers = [Shape(n, c) for c, n in pairwise(sizes)]
    assert sum(layer.intact().bops for layer in layers) == 4_358_144
    assert layers[0].quantised(8, 1).bops == 16 * 64 * 8 * 32


def test_biases_stay_floats():
    layer = Shape(10, 20, biases=10)
    assert layer.intact().bits == 32 * 210
    assert layer.quantised(4, 10).bits == 4 * 200 + 32 * 10 + 32 * 10
    assert layer.sparse(50, 200).parameters == 60


# packed into bytes as a file holds them, and unpacked again


@pytest.fixture(scope="module")
def weight():
    return torch.randn(16, 8, 3, 3, generator=torch.Generator().manual_seed(0))


SMALL = Shape(16, 8, (3, 3), (4, 4), (4, 4))


def packed(numbers: np.ndarray, bits: int) -> bytes:
    """Whole numbers from 0 on, so many bits each."""
    places = (numbers.reshape(-1, 1) >> np.arange(bits)) & 1
    return np.packbits(places.astype(np.uint8)).tobytes()


def unpacked(data: bytes, bits: int, count: int) -> np.ndarray:
    places = np.unpackbits(np.frombuffer(data, np.uint8), count=bits * count).reshape(count, bits)
    return (places.astype(int) << np.arange(bits)).sum(1)


def test_a_file_of_single_weights_that_stay(weight, tmp_path):
    damaged = sparse(weight, "weight", 400).numpy()
    mask = damaged != 0
    (tmp_path / "w").write_bytes(packed(mask.astype(int), 1) + damaged[mask].tobytes())
    assert (tmp_path / "w").stat().st_size == SMALL.sparse(400, SMALL.numbers).bytes
    data = (tmp_path / "w").read_bytes()
    again = np.zeros(weight.shape, np.float32)
    again[unpacked(data, 1, again.size).reshape(again.shape) == 1] = np.frombuffer(
        data[again.size // 8 :], np.float32
    )
    assert np.array_equal(again, damaged)


def test_a_file_of_kernels_that_stay(weight, tmp_path):
    damaged = sparse(weight, "kernel", 32).numpy()
    mask = damaged.any((2, 3))
    (tmp_path / "w").write_bytes(packed(mask.astype(int), 1) + damaged[mask].tobytes())
    expected = SMALL.sparse(32 * 9, SMALL.group_count("kernel"))
    assert (tmp_path / "w").stat().st_size == expected.bytes == 128 // 8 + 32 * 9 * 4


def test_a_file_of_two_of_four(weight, tmp_path):
    damaged = np.moveaxis(n_of_m(weight, 2, 4).numpy(), 1, -1).reshape(-1, 4)
    places = np.nonzero(damaged)[1]
    assert len(places) == 2 * len(damaged)
    (tmp_path / "w").write_bytes(packed(places, 2) + damaged[damaged != 0].tobytes())
    assert (tmp_path / "w").stat().st_size == SMALL.n_of_m(len(places), 4).bytes


def test_a_file_of_four_bits(weight, tmp_path):
    damaged = uniform(weight, 4).numpy().reshape(16, -1)
    scales = np.abs(weight.numpy().reshape(16, -1)).max(1) / 7
    numbers = np.rint(damaged / scales[:, None]).astype(int) + 8
    (tmp_path / "w").write_bytes(packed(numbers, 4) + scales.tobytes())
    assert (tmp_path / "w").stat().st_size == SMALL.quantised(4, 16).bytes
    data = (tmp_path / "w").read_bytes()
    again = (unpacked(data, 4, damaged.size).reshape(16, -1) - 8) * scales[:, None]
    np.testing.assert_allclose(again, damaged, atol=1e-6)


def test_a_file_of_four_bits_and_zeros(weight, tmp_path):
    kept = weight.numel() // 3
    damaged = sparse_uniform(weight, kept, bits=4).numpy().reshape(16, -1)
    scales = np.abs(damaged).max(1) / 7
    stays = sparse(weight, "weight", kept).numpy().reshape(16, -1) != 0
    numbers = (np.rint(damaged / scales[:, None]).astype(int) + 8)[stays]
    (tmp_path / "w").write_bytes(
        packed(stays.ravel().astype(int), 1) + packed(numbers, 4) + scales.tobytes()
    )
    wanted = SMALL.quantised(4, 16, kept=kept)
    assert (tmp_path / "w").stat().st_size == pytest.approx(wanted.bytes, abs=1)  # parts fill bytes
    assert (wanted.parameters, wanted.macs * 4 * 32) == (kept, wanted.bops)


def test_a_file_of_a_codebook(weight, tmp_path):
    damaged = codebook(weight, 8).numpy()
    table, numbers = np.unique(damaged, return_inverse=True)
    (tmp_path / "w").write_bytes(packed(numbers, 3) + table.tobytes())
    assert (tmp_path / "w").stat().st_size == SMALL.shared(3, 8).bytes


def test_a_file_of_signs(weight, tmp_path):
    damaged = binary(weight).numpy().reshape(16, -1)
    scales = np.abs(damaged).max(1)
    assert np.allclose(np.abs(damaged), scales[:, None])
    (tmp_path / "w").write_bytes(packed((damaged > 0).astype(int), 1) + scales.tobytes())
    assert (tmp_path / "w").stat().st_size == SMALL.quantised(1, 16).bytes
