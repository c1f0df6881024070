"""The built site: whole tables, nothing from elsewhere. Runs where ``make docs`` has built it."""

import re
from pathlib import Path

import pytest

SITE = Path(__file__).parents[2] / "build" / "site"


@pytest.fixture(scope="module")
def pages():
    found = {path: path.read_text() for path in SITE.rglob("*.html")} if SITE.is_dir() else {}
    if not found:
        pytest.skip("the site is not built here: make docs")
    return found


def test_nothing_is_fetched_from_elsewhere(pages):
    assert len(pages) > 40
    fetched = re.compile(
        r'<(?:script|img|iframe|source)[^>]*\bsrc="(https?:)?//|<link[^>]*rel="(?:stylesheet|preload|icon)"[^>]*href="(https?:)?//'
    )
    assert not [str(path) for path, text in pages.items() if fetched.search(text)]
    styles = [path for path in SITE.rglob("*.css") if re.search(r"(@import|url\()\s*[\"']?https?:", path.read_text())]
    assert not styles


def test_tables_and_templates_are_whole(pages):
    torn = re.compile(r"<p>\|[^<]*\|</p>|\{%|\{\{")
    assert not [str(path) for path, text in pages.items() if "benchmarks" in path.parts and torn.search(text)]
    assert not [str(path) for path, text in pages.items() if 'class="arithmatex"' in text]


def test_pages_hold_no_path_of_the_machine(pages):
    home = str(SITE.parents[1])
    assert not [str(path) for path, text in pages.items() if home in text]
