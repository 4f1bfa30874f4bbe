"""Logits, and what is done with them: the same operations in one file for each library that holds arrays.

Logits stay in the array type, and on the device, of the backend that computed them. What works on them asks
`operations` for those of their library, and needs to know no library itself.
"""

from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch

Array: TypeAlias = "NDArray[Any] | torch.Tensor"
"""An array of any of the libraries."""

Logits: TypeAlias = Any
"""An `Array` N×C×H×W of float32. Slices and + - * / mean the same in every library."""


class Operations(Protocol):
    """What every library can do; each function gives arrays of its own, on the device of what it gets."""

    def resize(self, logits: Logits, size: tuple[int, int]) -> Logits:
        """Resizes logits (N×C×H×W) bilinearly to a (height, width); pixels are areas, and no area is averaged."""

    def softmax(self, logits: Logits) -> Logits:
        """Probabilities of logits (N×C×H×W), over the classes."""

    def logarithm(self, probabilities: Logits) -> Logits:
        """Logits whose softmax is the probabilities (N×C×H×W); 0 becomes the smallest number that is none."""

    def turned_back(self, logits: Logits, turns: int, mirrored: bool) -> Logits:
        """Undoes on N×C×H×W what a view did to its image: mirrored left to right, then quarter turns anticlockwise."""

    def labels(self, logits: Logits) -> Any:
        """The class with the largest logit at every pixel, the first of equals: N×H×W uint8, uint16 beyond 256."""

    def beside(self, values: NDArray[Any], logits: Logits) -> Any:
        """Numpy's values as an array of the logits' library on their device; does not wait for the copy."""

    def zeros(self, shape: tuple[int, ...], logits: Logits) -> Logits:
        """Zeros of a shape, float32, as an array of the logits' library on their device."""

    def confidence(self, logits: Logits) -> Any:
        """The largest probability at every pixel, as 0…255 for 0…1: N×H×W uint8."""

    def free_memory(self, logits: Logits) -> int:
        """How many bytes can still be had where the logits are."""

    def confusion(self, truth: Any, labels: Any, num_classes: int, ignore_index: int) -> Any:
        """Counts each image's pixels by true class (row) and predicted class (column); ignored ones count nowhere.

        Args:
            truth: N×H×W class indices, or the ignore index.
            labels: N×H×W class indices.
            num_classes: C.
            ignore_index: the value of `truth` to leave out.

        Returns:
            N×C×C int64.
        """

    def image_counts(self, confusion: Any) -> Any:
        """What N×C×C counts say of each image's classes: N×3×C pixels that are hit, true and predicted."""

    def to_numpy(self, array: Any) -> NDArray[Any]:
        """The values as numpy's; waits for them to be computed."""


def operations(array: Array) -> Operations:
    """The operations of the library that an array is of."""
    if isinstance(array, np.ndarray):
        from segcli.engine.arrays import numpy_arrays

        return numpy_arrays
    # Imported here, so that what holds numpy's arrays never imports torch.
    from segcli.engine.arrays import torch_arrays

    return torch_arrays
