from pathlib import Path

import pytest
import torch

from systems.runtime.pair import Pair
from tests.systems.tiny import make_pair


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pair")


@pytest.fixture(scope="session")
def pair(root: Path) -> Pair:
    return make_pair(root)


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Two threads on a busy machine spend their time in each other's spin barriers."""
    torch.set_num_threads(1)
