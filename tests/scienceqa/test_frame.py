"""The frame of problems: values by hand, dtypes fixed."""

import pandas as pd
import pytest

from mmadapter.scienceqa.layout import read_layout
from mmadapter.scienceqa.problems import FRAME_DTYPES, Dataset


@pytest.fixture
def frame(tmp_path, record, write_layout):
    unknown = dict.fromkeys(["hint", "grade", "subject"])
    records = {"8": record(hint="Look."), "9": record(image="image.png", **unknown), "10": record()}
    folder = write_layout(tmp_path, records, pictures={"train/9/image.png": b""}, captions={"9": "A rock."})
    return read_layout(folder).to_pandas()


def test_values(frame, tmp_path):
    assert list(frame.index) == ["8", "9", "10"]
    assert frame.loc["8", "choices"] == ["water", "a rock", "air"]
    assert frame["grade"].tolist() == [7, pd.NA, 7]
    assert frame["has_text"].tolist() == [True, pd.NA, False]
    assert frame["has_image"].tolist() == [False, True, False]
    assert frame["hint"].tolist() == ["Look.", pd.NA, ""]
    assert frame["image"].tolist() == [pd.NA, str(tmp_path / "images/train/9/image.png"), pd.NA]
    assert frame["caption"].tolist() == [pd.NA, "A rock.", pd.NA]
    assert frame.loc["8", ["answer", "n_choices"]].tolist() == [1, 3]


def test_dtypes_do_not_depend_on_the_data(frame):
    empty = Dataset("none", {}, {}).to_pandas()
    for one in (frame, empty, frame.loc[["9"]]):
        assert one.dtypes.astype(str).to_dict() == FRAME_DTYPES
        assert list(one.columns) == list(FRAME_DTYPES)
        assert (one.index.name, str(one.index.dtype)) == ("pid", "string")
