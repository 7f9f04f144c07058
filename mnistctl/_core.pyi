import numpy as np
from numpy.typing import ArrayLike, NDArray

def argmax(values: ArrayLike) -> int | NDArray[np.int64]: ...
