"""Pictures small enough for one page."""

import base64
import io

from PIL import Image

from mmadapter.report import thumbnails as module
from mmadapter.report.thumbnails import SIDES, thumbnails
from mmadapter.scienceqa.layout import ImageFile
from tests.report.conftest import png


def sources(folder, contents):
    found = {}
    for pid, content in contents.items():
        (folder / pid).write_bytes(content)
        found[pid] = ImageFile(folder / pid)
    return found


def decoded(file: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(file.split(" ")[1])))


def test_equal_contents_are_one_file_and_order_is_kept(tmp_path):
    found = thumbnails(sources(tmp_path, {"a": png(1), "b": png(2), "c": png(1)}))
    assert found.index == {"a": 0, "b": 1, "c": 0}
    assert len(found.files) == 2
    assert not found.broken
    for file in found.files:
        size = "{}x{}".format(*decoded(file).size)
        assert file.startswith(size + " ")


def test_a_small_picture_is_not_enlarged_and_a_large_one_keeps_its_shape(tmp_path):
    found = thumbnails(sources(tmp_path, {"small": png(1, (64, 40)), "large": png(2, (1200, 600))}))
    assert found.side == SIDES[0]
    assert [decoded(file).size for file in found.files] == [(64, 40), (480, 240)]


def test_all_of_them_fit_into_the_budget(tmp_path):
    images = sources(tmp_path, {str(n): png(n, (500, 300)) for n in range(6)})
    whole = sum(map(len, thumbnails(images).files))
    found = thumbnails(images, budget=whole // 4)
    assert found.side < SIDES[0]
    assert whole // 16 < sum(map(len, found.files)) < whole // 4 * 1.1


def test_the_budget_is_met_from_a_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE", 3)
    images = sources(tmp_path, {str(n): png(n, (300, 200)) for n in range(12)})
    whole = sum(map(len, thumbnails(images).files))
    assert sum(map(len, thumbnails(images, budget=whole // 2).files)) < whole // 2 * 1.1


def test_what_cannot_be_shown_is_named(tmp_path):
    images = sources(tmp_path, {"whole": png(1), "cut": png(2)[:40]})
    images["gone"] = ImageFile(tmp_path / "gone")
    found = thumbnails(images)
    assert found.index == {"whole": 0}
    assert found.broken.keys() == {"cut", "gone"}
    assert "gone: cannot be read" in found.broken["gone"]


def test_no_pictures_at_all():
    found = thumbnails({})
    assert found.files == []
    assert found.index == {}
