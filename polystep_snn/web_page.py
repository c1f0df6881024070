"""Pieces of a web page that stands in one file: no script, no network, light and dark as the reader likes.

Whatever is given as text is escaped.
"""

import base64
import io
from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from matplotlib.figure import Figure

_STYLE = """
:root { color-scheme: light dark; --paper: #fbfbf9; --card: #fff; --ink: #1d2126; --soft: #626a75; --line: #dfe2e6; --mark: #2b6cb0; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #15171a; --card: #1c1f23; --ink: #e4e6e9; --soft: #9aa2ad; --line: #32373e; --mark: #7db4ec; }
}
* { margin: 0; }
body { background: var(--paper); color: var(--ink); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
  max-width: 62rem; margin: 0 auto; padding: clamp(1.2rem, 4vw, 3.5rem) clamp(1rem, 4vw, 2rem); overflow-wrap: anywhere; }
h1 { font-size: clamp(1.5rem, 5vw, 2.1rem); line-height: 1.2; letter-spacing: -0.01em; }
h2 { font-size: 1.2rem; margin: 3rem 0 0.9rem; padding-bottom: 0.3rem; border-bottom: 1px solid var(--line); }
p { max-width: 46rem; margin-bottom: 0.8rem; }
.soft, figcaption, caption { color: var(--soft); font-size: 0.9rem; }
nav { display: flex; flex-wrap: wrap; gap: 0.2rem 1.1rem; margin-top: 1rem; font-size: 0.92rem; }
a { color: var(--mark); text-decoration: none; }
a:hover { text-decoration: underline; }
.scores { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 0.8rem; margin: 1.6rem 0 0; }
.scores div { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 0.75rem 1rem; }
.scores b { display: block; font-size: 1.5rem; font-weight: 600; line-height: 1.25; font-variant-numeric: tabular-nums; }
.scores span { color: var(--soft); font-size: 0.85rem; }
.scroll { overflow-x: auto; margin-bottom: 1rem; }
table { border-collapse: collapse; font-size: 0.92rem; }
caption { text-align: left; padding-bottom: 0.4rem; }
th, td { text-align: left; vertical-align: top; padding: 0.32rem 1.4rem 0.32rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); overflow-wrap: normal; }
thead th { white-space: nowrap; }
td { overflow-wrap: break-word; min-width: 3rem; }
td:first-child { min-width: 5rem; }
td:last-child:nth-child(n + 3):not(.number) { min-width: 16rem; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
figure { margin: 0 0 1.4rem; overflow-x: auto; }
figure img { display: block; max-width: 100%; height: auto; }
img.drawn, img.pictured { mix-blend-mode: multiply; }
figure.wide img { width: 100%; min-width: 38rem; }
figcaption { margin-top: 0.5rem; position: sticky; left: 0; }
details { margin: 0.6rem 0 1rem; }
summary { cursor: pointer; color: var(--mark); margin-bottom: 0.6rem; }
h3 { font-size: 0.95rem; margin: 1rem 0 0.3rem; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 8px; padding: 0.8rem 1rem; margin-bottom: 1rem;
  overflow-x: auto; font: 0.88rem/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; white-space: pre-wrap; }
@media (prefers-color-scheme: dark) {
  img.drawn { filter: invert(1) hue-rotate(180deg); mix-blend-mode: screen; }
  img.pictured { mix-blend-mode: normal; background: #fff; border-radius: 6px; padding: 0.5rem; box-sizing: border-box; }
}
@media print { body { max-width: none; } nav { display: none; } }
"""
_INCHES_OF_NARROW = 5.5


def paragraph(text: str, soft: bool = False) -> str:
    """A paragraph."""
    return f"<p{' class=soft' if soft else ''}>{escape(text)}</p>"


def preformatted(text: str) -> str:
    """A command, or code."""
    return f"<pre>{escape(text)}</pre>"


def table(rows: Iterable[Sequence[Any]], head: Sequence[str] = (), numbers: bool = False, caption: str = "") -> str:
    """A table.

    Args:
        rows: of cells.
        head: names of the columns; none for a table whose first column names its rows.
        numbers: all columns but the first are numbers, flush right.
        caption: above it.
    """

    def row(cells: Sequence[Any], header: bool = False) -> str:
        found = []
        for k, cell in enumerate(cells):
            name = "th" if header or (not head and not k) else "td"
            found.append(f"<{name}{' class=number' if numbers and k else ''}>{escape(str(cell))}</{name}>")
        return f"<tr>{''.join(found)}</tr>"

    above = f"<caption>{escape(caption)}</caption>" if caption else ""
    first = f"<thead>{row(head, True)}</thead>" if head else ""
    return f"<div class=scroll><table>{above}{first}<tbody>{''.join(row(cells) for cells in rows)}</tbody></table></div>"


def numbers_at_a_glance(values: dict[str, str]) -> str:
    """Large numbers side by side, and what each is."""
    return f"<div class=scores>{''.join(f'<div><b>{escape(v)}</b><span>{escape(name)}</span></div>' for name, v in values.items())}</div>"


def drawing(figure: Figure, words: str, pictured: bool = False) -> str:
    """A figure, embedded.

    Args:
        words: what there is to see.
        pictured: it holds pictures, whose colours must stay as they are in the dark.
    """
    file = io.BytesIO()
    figure.savefig(file, format="png")
    source = base64.b64encode(file.getvalue()).decode()
    width, height = figure.get_size_inches()
    wide, size = width > _INCHES_OF_NARROW, f'width="{round(96 * width)}" height="{round(96 * height)}"'
    image = f'<img class={"pictured" if pictured else "drawn"} {size} alt="{escape(words)}" src="data:image/png;base64,{source}">'
    return f"<figure{' class=wide' if wide else ''}>{image}<figcaption>{escape(words)}</figcaption></figure>"


def folded(title: str, *pieces: str) -> str:
    """Pieces that are shown when they are asked for."""
    return f"<details><summary>{escape(title)}</summary>{''.join(pieces)}</details>"


def heading(title: str) -> str:
    """A heading within a section."""
    return f"<h3>{escape(title)}</h3>"


def page(title: str, about: str, glance: dict[str, str], sections: dict[str, str]) -> str:
    """The whole page; sections without content are left out.

    Args:
        about: a line below the title.
        glance: see ``numbers_at_a_glance``.
        sections: pieces, by heading.
    """
    sections = {name: content for name, content in sections.items() if content}
    links = "".join(f"<a href='#s{k}'>{escape(name)}</a>" for k, name in enumerate(sections))
    body = "".join(f"<section id=s{k}><h2>{escape(name)}</h2>{content}</section>" for k, (name, content) in enumerate(sections.items()))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>\n<body><header><h1>{escape(title)}</h1>"
        f"{paragraph(about, soft=True)}{numbers_at_a_glance(glance)}<nav>{links}</nav></header>\n<main>{body}</main></body></html>\n"
    )
