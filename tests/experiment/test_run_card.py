"""A card shows names and settings of anybody as they are: none is a heading, a link or HTML."""

from dataclasses import replace

from markdown_it import MarkdownIt

from mmadapter.config.settings import RunConfig
from mmadapter.experiment.run_card import run_card
from tests.tiny import tiny_model

HOSTILE = "x`</code><script>alert(1)</script>\n```\n# A heading\n\n<img src=x>"


def test_hostile_names_stay_text():
    config = replace(RunConfig(), llm=HOSTILE, clip=HOSTILE, device=HOSTILE)
    html = MarkdownIt("commonmark", {"html": True}).render(run_card(config, tiny_model(), "| table |", 3))
    assert "<script" not in html
    assert "<img" not in html
    assert "A heading</h" not in html
    assert html.count("&lt;script&gt;") >= 3
    assert "<p>3 broken problems were left out; <code>metrics.json</code> names them.</p>" in html
