"""What tests in several rooms share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def scienceqa_folders() -> list[Path]:
    """Folders of real ScienceQA data, which no repository may hold; without them these tests are skipped."""
    folders = os.environ.get("MMADAPTER_SCIENCEQA")
    if not folders:
        pytest.skip("MMADAPTER_SCIENCEQA names no folders of real ScienceQA data")
    return [Path(folder) for folder in folders.split(os.pathsep)]
