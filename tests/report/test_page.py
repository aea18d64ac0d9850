"""The page: complete, self-contained, and tolerant of what is not known."""

import base64
import dataclasses
import re
from html import unescape
from html.parser import HTMLParser

import numpy as np
import pytest

from micromacro.report.page import render


class Page(HTMLParser):
    """Collects what a page loads, and the text of its cells."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.alternatives, self.cells, self.open, self._cell = [], [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.loaded += [attributes[name] for name in ("src", "href", "action") if name in attributes]
        if tag == "img":
            self.alternatives.append(attributes["alt"])
        if tag not in ("meta", "link", "img"):
            self.open.append(tag)
        if tag == "td":
            self._cell = ""

    def handle_data(self, data):
        if self._cell is not None:
            self._cell += data

    def handle_endtag(self, tag):
        assert self.open.pop() == tag
        if tag == "td":
            self.cells.append(self._cell)
            self._cell = None


@pytest.mark.parametrize("unknown", [False, True], ids=["complete", "gaps"])
@pytest.mark.parametrize("d", [1, 2, 3])
def test_renders_and_loads_nothing(page, d, unknown):
    text = page(d, unknown)
    parsed = Page(text)
    assert not parsed.open
    assert parsed.loaded
    assert all(source.startswith("data:") for source in parsed.loaded)
    assert "http" not in re.sub(r'src="data:[^"]*"', "", text)
    assert "<script" not in text
    assert all(parsed.alternatives)
    assert "nan" not in unescape(re.sub(r"<[^>]*>", " ", text)).lower().split()


def test_images_are_svg_without_links(page):
    sources = [source for source in Page(page(1)).loaded if source.startswith("data:image")]
    for source in sources:
        image = base64.b64decode(source.split(",", 1)[1]).decode()
        assert image.startswith("<?xml")
        assert "<svg" in image
        assert not re.search(r'xlink:href="(?!#|data:)', image)


def test_the_same_results_give_the_same_page(make, page):
    assert render(make(1)) == page(1)


@pytest.mark.parametrize(("d", "pictures"), [(1, 1 + 6 + 3 + 2), (2, 2 + 6 + 6 + 3), (3, 3 + 6 + 0 + 1)])
def test_every_figure_is_there(page, d, pictures):
    assert len(Page(page(d)).alternatives) == pictures


def test_every_row_of_every_table_is_shown(make, page):
    data = make(1)
    cells = Page(page(1)).cells
    for name in data.summary["consistency"]:
        assert name.replace("_", " ") in cells
    for name in [*data.summary["stages"], "total", *data.summary["basins"]]:
        assert name in cells
    assert cells.count("yes") == 4
    assert cells.count("no") == 1
    assert cells.count("not applicable") == 1
    assert "no gap between time scales" in cells
    assert "0.78" in cells


def test_titles_and_reasons_are_escaped(make):
    data = make(1)
    checks = {"restriction": {"value": 1.0, "threshold": 0.5, "passed": False, "reason": "<script>alert(1)</script>"}}
    hostile = dataclasses.replace(
        data, title="<b>Title</b> & more", summary={**data.summary, "consistency": checks, "case": "<i>case</i>"}
    )
    text = render(hostile)
    assert "<b>" not in text
    assert "<i>" not in text
    assert "<script" not in text
    assert "&lt;b&gt;Title&lt;/b&gt; &amp; more" in text


def test_names_with_dollar_signs_are_no_formulas(make):
    data = dataclasses.replace(make(1), coarse_names=[r"$\nothing$ or 5%"], conditional_samples=[])
    assert r"$\nothing$ or 5%" in render(data)


def test_a_run_with_next_to_nothing(make):
    data = make(1)
    bare = dataclasses.replace(
        data,
        summary={},
        free_energy=np.full(120, np.nan),
        stderr=np.full(120, np.nan),
        closure=None,
        exact_free_energy=None,
        conditional_samples=[],
        reduced={},
        rounds=[],
        basins={},
    )
    text = render(bare)
    assert "No checks were made." in text
    assert not Page(text).alternatives


def test_nothing_is_left_in_the_state_of_pyplot(make):
    import matplotlib

    before = dict(matplotlib.rcParams)
    render(make(1))
    assert dict(matplotlib.rcParams) == before
