"""What tests in several rooms share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples every time: a change is judged by what it changed. `make check` and `make fuzz` look for new ones.
settings.register_profile("reproducible", derandomize=True)
settings.load_profile("reproducible")


@pytest.fixture(scope="session")
def scienceqa_folders() -> list[Path]:
    """Folders of real ScienceQA data, which no repository may hold; without them these tests are skipped."""
    folders = os.environ.get("MMADAPTER_SCIENCEQA")
    if not folders:
        pytest.skip("MMADAPTER_SCIENCEQA names no folders of real ScienceQA data")
    return [Path(folder) for folder in folders.split(os.pathsep)]


@pytest.fixture(scope="session")
def colour_run(tmp_path_factory) -> Path:
    """A finished run of both variants (`tests.trained_runs`): 10 seconds, once. Copy it to change it."""
    from tests.trained_runs import colour_run

    folder = tmp_path_factory.mktemp("colours")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MMADAPTER_CACHE", str(folder / "cache"))
        return colour_run(folder)
