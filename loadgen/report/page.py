"""The page: one HTML file with everything in it. Pure.

The rule: nothing is fetched: pictures are in it, styles are in it, there is no script, and the page's
own policy forbids anything else. It reads in light and in dark, by keyboard and by ear.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from html import escape

from loadgen.report.section import Picture, Section, Table

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
_STYLE = """
:root { color-scheme: light dark; --ground: #fff; --ink: #1f2933; --soft: #52606d; --line: #d5dae0;
  --card: #f5f7fa; --link: #0b5cad; --bad: #a61b1b; --good: #0f7b3f; }
@media (prefers-color-scheme: dark) { :root { --ground: #14181d; --ink: #e4e7eb; --soft: #9aa5b1;
  --line: #323f4b; --card: #1f2731; --link: #7cc0ff; --bad: #ff9b9b; --good: #7ee2a8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 1.5rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
a { color: var(--link); }
h1 { margin: 0 0 .25rem; } h2 { margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--line); }
nav ul { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; padding: 0; list-style: none; }
figure { margin: 1rem 0; }
img { display: block; max-width: 100%; height: auto; padding: .5rem; background: #fff;
  border: 1px solid var(--line); border-radius: .5rem; }
figcaption, .source, .lead { color: var(--soft); font-size: .9rem; }
.missing { padding: .75rem 1rem; background: var(--card); border-left: 4px solid var(--soft); }
.table { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-size: .9rem; }
caption { text-align: left; font-weight: 600; padding: .25rem 0; }
th, td { padding: .2rem .75rem .2rem 0; text-align: left; border-bottom: 1px solid var(--line);
  vertical-align: top; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.no { color: var(--bad); font-weight: 600; } .yes { color: var(--good); }
code { background: var(--card); padding: 0 .25rem; border-radius: .2rem; }
summary { cursor: pointer; }
.skip { position: absolute; left: -100rem; } .skip:focus { left: 1rem; }
"""
_NUMBER = re.compile(r"^-?[\d,.]+(e[-+]?\d+)?%?$")
_CODE = re.compile(r"`([^`]+)`")
_VERDICTS = {"yes": "yes", "no": "no"}


def page(title: str, lead: str, sections: Sequence[Section], folded: Iterable[Table]) -> str:
    """Return the HTML. `folded`: tables that are shown when asked for, at the end."""
    links = "".join(f'<li><a href="#{one.id}">{escape(one.title)}</a></li>' for one in sections)
    body = "\n".join(_section(one) for one in sections)
    more = "".join(
        f"<details><summary>{escape(one.caption)}</summary>{_table(one)}</details>"
        for one in folded
    )
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(_POLICY)}">
<meta name="color-scheme" content="light dark">
<link rel="icon" href="data:,">
<title>{escape(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<a class="skip" href="#content">Skip to the content</a>
<header><h1>{escape(title)}</h1><p class="lead">{_text(lead)}</p>
<nav aria-label="Sections"><ul>{links}<li><a href="#numbers">Every number</a></li></ul></nav></header>
<main id="content">
{body}
<section id="numbers" aria-labelledby="numbers-title"><h2 id="numbers-title">Every number</h2>
<p>All that the documents hold, the settings of each run included.</p>{more}</section>
</main>
</body>
</html>
"""


def _section(section: Section) -> str:
    parts = [f"<p>{_text(section.text)}</p>"]
    parts += [f'<p class="missing" role="note">{_text(one)}</p>' for one in section.missing]
    parts += [_figure(one) if isinstance(one, Picture) else _table(one) for one in section.content]
    inner = "\n".join(parts)
    return (
        f'<section id="{section.id}" aria-labelledby="{section.id}-title">'
        f'<h2 id="{section.id}-title">{escape(section.title)}</h2>\n{inner}</section>'
    )


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode()
    alt = escape(picture.alt, quote=True)
    return (
        f'<figure><img src="data:image/png;base64,{data}" alt="{alt}">'
        f"<figcaption>{escape(picture.title)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    heads = "".join(f'<th scope="col">{escape(head)}</th>' for head in table.heads)
    rows = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in table.rows)
    source = f'<p class="source">{escape(table.source)}</p>' if table.source else ""
    # What scrolls can be reached by keyboard.
    return (
        f'<div class="table" tabindex="0" role="region" aria-label="{escape(table.caption, quote=True)}">'
        f"<table><caption>{escape(table.caption)}</caption><thead><tr>{heads}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>{source}"
    )


def _cell(text: str) -> str:
    if text in _VERDICTS:
        return f'<td class="{_VERDICTS[text]}">{text}</td>'
    kind = ' class="number"' if _NUMBER.match(text) else ""
    return f"<td{kind}>{_text(text)}</td>"


def _text(text: str) -> str:
    """Return words as HTML; what stands between back-ticks is code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))
