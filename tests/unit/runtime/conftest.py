import pytest

import spak_runtime
from tests.unit.runtime import hand_artifact


@pytest.fixture(scope="session")
def hand(tmp_path_factory):
    """The hand-written artifact, loaded."""
    return spak_runtime.load(hand_artifact.write(tmp_path_factory.mktemp("hand")))
