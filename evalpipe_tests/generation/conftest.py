"""Generated evaluators that several tests look at: made once."""

import pytest

from evalpipe.generation.examples import Examples
from evalpipe.generation.generate import Generated
from evalpipe_tests.generation.made import generated, planted_examples


@pytest.fixture(scope="session")
def ordering_examples() -> Examples:
    return planted_examples("ordering", 12, 48, seed=1)


@pytest.fixture(scope="session")
def ordering(ordering_examples: Examples) -> Generated:
    return generated(ordering_examples)
