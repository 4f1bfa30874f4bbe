"""Every library's operations against numpy's, and numpy's against plain words."""

import numpy as np
import pytest
import torch
from engine.host_reads import HostReads
from torch.testing import assert_close

from segcli.engine.arrays import numpy_arrays, operations, torch_arrays

SHAPES = [(1, 2, 7, 5), (3, 2, 13, 8), (2, 300, 9, 11), (1, 21, 37, 53)]


def logits_of(shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng(len(shape) + shape[1]).normal(scale=3, size=shape).astype(np.float32)


def test_each_array_has_its_librarys_operations() -> None:
    assert operations(np.zeros(1)) is numpy_arrays
    assert operations(torch.zeros(1)) is torch_arrays


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [(14, 10), (5, 9), (61, 3), (1, 1)])
def test_resizing(shape: tuple[int, ...], size: tuple[int, int]) -> None:
    logits = logits_of(shape) / 5  # torch counts places in float32, and is off by what logits change in 1e-6 of a side
    resized = numpy_arrays.resize(logits, size)
    assert resized.shape == (*shape[:2], *size)
    for layout in (torch.contiguous_format, torch.channels_last):
        tensor = torch.from_numpy(logits).contiguous(memory_format=layout)
        assert_close(torch_arrays.resize(tensor, size).numpy(), resized, rtol=0, atol=1e-5)


def test_resizing_is_bilinear_without_aligned_corners() -> None:
    for array in (np.array([[[[0, 4]]]], np.float32), torch.tensor([[[[0.0, 4.0]]]])):
        ops = operations(array)
        assert ops.to_numpy(ops.resize(array, (1, 4)))[0, 0, 0] == pytest.approx([0, 1, 3, 4])


@pytest.mark.parametrize("shape", SHAPES)
def test_probabilities_and_back(shape: tuple[int, ...]) -> None:
    logits = logits_of(shape)
    probabilities = numpy_arrays.softmax(logits)
    assert probabilities.sum(1) == pytest.approx(np.ones((shape[0], *shape[2:])), abs=1e-5)
    tensor = torch_arrays.softmax(torch.from_numpy(logits))
    assert_close(tensor.numpy(), probabilities, rtol=0, atol=1e-6)
    assert_close(torch_arrays.logarithm(tensor).numpy(), numpy_arrays.logarithm(probabilities), rtol=1e-5, atol=1e-5)
    zero = np.zeros((1, 2, 1, 1), np.float32)
    for array in (zero, torch.from_numpy(zero)):
        ops = operations(array)
        assert ops.to_numpy(ops.logarithm(array)) == pytest.approx(np.log(np.finfo(np.float32).tiny))


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("mirrored", [False, True])
def test_views_are_turned_back(turns: int, mirrored: bool) -> None:
    logits = logits_of((2, 3, 5, 7))
    view = np.rot90(logits[..., ::-1] if mirrored else logits, turns, axes=(2, 3)).copy()
    for array in (view, torch.from_numpy(view)):
        ops = operations(array)
        assert np.array_equal(ops.to_numpy(ops.turned_back(array, turns, mirrored)), logits)


@pytest.mark.parametrize("shape", SHAPES)
def test_labels_and_the_first_of_equals(shape: tuple[int, ...]) -> None:
    logits = logits_of(shape).round()  # many ties
    labels = numpy_arrays.labels(logits)
    first = [next(c for c, value in enumerate(pixel) if value == pixel.max()) for pixel in logits[0, :, 0].T]
    assert labels[0, 0].tolist() == first
    assert labels.dtype == (np.uint8 if shape[1] <= 256 else np.uint16)
    for layout in (torch.contiguous_format, torch.channels_last):
        tensor = torch_arrays.labels(torch.from_numpy(logits).contiguous(memory_format=layout)).numpy()
        assert tensor.dtype == labels.dtype
        assert np.array_equal(tensor, labels)


@pytest.mark.parametrize("num_classes", [2, 3, 300])
@pytest.mark.parametrize("ignore_index", [255, 65535, 1])
def test_confusion(num_classes: int, ignore_index: int) -> None:
    rng = np.random.default_rng(num_classes)
    truth = rng.integers(0, num_classes, (3, 11, 7))
    truth[rng.random(truth.shape) < 0.2] = ignore_index
    truth = truth.astype(np.uint8 if truth.max() < 256 else np.int32)
    labels = rng.integers(0, num_classes, truth.shape).astype(np.uint8 if num_classes < 257 else np.uint16)
    expected = np.zeros((3, num_classes, num_classes), np.int64)
    for image, true, predicted in zip(np.repeat(np.arange(3), 77), truth.ravel(), labels.ravel(), strict=True):
        if true != ignore_index:
            expected[image, true, predicted] += 1
    for arrays in ((truth, labels), (torch.from_numpy(truth), torch.from_numpy(labels))):
        ops = operations(arrays[0])
        counts = ops.confusion(*arrays, num_classes, ignore_index)
        assert np.array_equal(ops.to_numpy(counts), expected)
        hits, true, predicted = ops.to_numpy(ops.image_counts(counts)).swapaxes(0, 1)
        assert np.array_equal(hits, np.stack([matrix.diagonal() for matrix in expected]))
        assert np.array_equal(true, expected.sum(2))
        assert np.array_equal(predicted, expected.sum(1))


def test_nothing_but_the_way_to_numpy_waits_for_a_device() -> None:
    logits, truth = torch.from_numpy(logits_of((2, 3, 8, 6))), np.zeros((2, 16, 12), np.uint8)
    with HostReads() as reads, torch.inference_mode():
        resized = torch_arrays.resize(torch_arrays.turned_back(logits, 2, True), (16, 12))
        mean = torch_arrays.logarithm((torch_arrays.softmax(resized) + torch_arrays.softmax(resized)) / 2)
        counts = torch_arrays.confusion(torch_arrays.beside(truth, mean), torch_arrays.labels(mean), 3, 255)
        counts = torch_arrays.image_counts(counts)
    assert not reads.waits
    with HostReads() as reads:
        torch_arrays.to_numpy(counts)
    assert reads.waits == {"cpu": 1}
