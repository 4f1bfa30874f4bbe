"""Logits, and what is done with them."""

import numpy as np
from numpy.typing import NDArray

Logits = NDArray[np.float32]
