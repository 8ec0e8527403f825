"""What an evaluator says of the examples of an issue, one entry each; of some it may have nothing to say."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]


class Flags(NamedTuple):
    """What an evaluator says of each example: True is failure present. Where it is not known, nothing counts."""

    said: Bools
    is_known: Bools

    @classmethod
    def of(cls, flags: list[bool | None]) -> "Flags":
        """From a list in which None is not known."""
        return cls(np.array([bool(flag) for flag in flags]), np.array([flag is not None for flag in flags]))

    @classmethod
    def all_known(cls, said: Bools) -> "Flags":
        """Of an evaluator that could tell everywhere."""
        return cls(said, np.ones(len(said), dtype=bool))

    def to_list(self) -> list[bool | None]:
        """One entry an example; None where it is not known."""
        return [flag if known else None for flag, known in zip(self.said.tolist(), self.is_known.tolist(), strict=True)]
