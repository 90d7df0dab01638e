"""
An incident as one HTML page that needs nothing else: no script, no font, no picture from anywhere. Pure.

Every text in it may come from somebody who wishes us ill: it is escaped, and the page forbids itself to load or run anything.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from vmdk_failover.judgement import describe
from vmdk_failover.views.drawing import safe, svg
from vmdk_failover.views.incident import Bar, Incident, Mark, doing

WIDE, NARROW = 980, 350
_FORBID = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_STYLE = """
:root { color-scheme: light dark; --bg: #fff; --fg: #1b1f24; --dim: #59636e; --line: #d1d9e0; --soft: #f3f5f7;
  --good: #1a7f37; --bad: #c4232b; --odd: #8a5a00; --say: #0a5dc2; --see: #6b3fb5; }
@media (prefers-color-scheme: dark) { :root { --bg: #14171b; --fg: #e4e8ec; --dim: #a3adb8; --line: #373e47;
  --soft: #1e2329; --good: #46c065; --bad: #ff7b72; --odd: #e3b341; --say: #6cb0ff; --see: #bd9bff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 64rem; background: var(--bg); color: var(--fg);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.result { font-weight: 600; } .good { color: var(--good); } .bad { color: var(--bad); } .odd { color: var(--odd); }
.dim, footer { color: var(--dim); } code { font: .9em/1.4 ui-monospace, monospace; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.figures div { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .5rem .75rem; }
.figures dt { color: var(--dim); font-size: .85rem; } .figures dd { margin: 0; font-size: 1.2rem; font-weight: 600; }
figure { margin: 0; } svg { display: block; width: 100%; height: auto; } svg.narrow { display: none; }
svg text { fill: var(--fg); font: 13px system-ui, sans-serif; } svg .tick { fill: var(--dim); font-size: 12px; }
svg .grid { stroke: var(--line); stroke-width: 1; } svg .cut { fill: var(--soft); }
.k-seen { fill: var(--see); } .k-decided, .k-waits { fill: var(--say); } .k-held, .k-ended { fill: var(--bad); }
.k-person { fill: var(--odd); } .k-done, .o-done { fill: var(--good); } .o-failed { fill: var(--bad); }
.o-unknown, .o-lost { fill: var(--odd); }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0;
  border-bottom: 1px solid var(--line); } th { color: var(--dim); font-weight: 600; } td.time { white-space: nowrap; }
td.who { min-width: 7rem; }
footer { margin-top: 2rem; font-size: .85rem; }
@media (max-width: 640px) { svg.wide { display: none; } svg.narrow { display: block; }
  thead { display: none; } tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line); }
  td { display: block; border: 0; padding: 0; } td:empty { display: none; }
  td[data-name]::before { content: attr(data-name) " "; color: var(--dim); } }
@media print { body { max-width: none; } }
"""
_RESULTS: Mapping[str, tuple[str, str]] = {
    "done": ("good", "ended well"),
    "given up": ("bad", "was given up"),
    "closed": ("odd", "was closed by a person"),
    "adopted": ("odd", "ended by adopting the world"),
    "held": ("bad", "is held"),
    "open": ("odd", "is not over"),
}


def page(incident: Incident, made: str) -> str:
    """
    The page.

    :param made: by whom and when, for its end.
    """
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_FORBID}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="referrer" content="no-referrer">',
        f"<title>{safe(_title(incident))}</title><style>{_STYLE}</style></head><body>",
        *_head(incident),
        "<h2>What happened</h2><figure>",
        svg(incident, WIDE, "wide"),
        svg(incident, NARROW, "narrow"),
        '<figcaption class="dim">Dots: what was seen (violet), decided (blue), done by a person (amber); the end, if the move '
        "was done (green), held or given up (red). Bars: steps, green if done, red if failed, amber if the end is not known."
        "</figcaption></figure>",
        "<h2>Step by step</h2>",
        *_table(("Time", "Who", "What", "Why"), _steps(incident)),
        "<h2>What the witnesses said</h2>",
        *_table(("Time", "Witness", "Said"), _evidence(incident)),
        "<h2>Rules that spoke</h2>",
        *_table(("Rule", "When", "Then"), _rules(incident)),
        "<h2>Settings in force</h2>",
        *_table(("Setting", "Value"), _settings(incident.settings)),
        f"<footer>{safe(made)}</footer></body></html>\n",
    ]
    return "\n".join(parts)


def _title(incident: Incident) -> str:
    way = f" from {incident.source}" if incident.source and incident.source != incident.target else ""
    return f"{incident.resource}: {incident.kind}{way} to {incident.target}"


def _head(incident: Incident) -> Iterator[str]:
    tone, words = _RESULTS.get(incident.result, ("odd", incident.result))
    yield f"<h1>{safe(_title(incident))}</h1>"
    yield f'<p><span class="result {tone}">It {words}:</span> {safe(incident.words)}.</p>'
    yield f"<p>Begun because {safe(incident.because)} (rule {incident.rule}).</p>"
    yield '<dl class="figures">'
    for name, value in _figures(incident):
        yield f"<div><dt>{name}</dt><dd>{safe(value)}</dd></div>"
    yield "</dl>"


def _figures(incident: Incident) -> Iterator[tuple[str, str]]:
    yield "Begun (UTC)", moment(incident.began, "%d %b %Y %H:%M:%S")
    yield "Epoch", str(incident.epoch)
    if incident.first < incident.began:
        yield "First sign to decision", describe.duration(incident.began - incident.first)
    if incident.in_service is not None:
        yield "Decision to service", describe.duration(incident.in_service - incident.began)
        yield "First sign to service", describe.duration(incident.in_service - incident.first)
    elif incident.ended is not None:
        yield "Decision to end", describe.duration(incident.ended - incident.began)
    yield "Steps", str(len(incident.bars))


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    body = list(rows)
    if not body:
        yield '<p class="dim">Nothing was written down.</p>'
        return
    yield f"<table><thead><tr>{''.join(f'<th>{name}</th>' for name in heads)}</tr></thead><tbody>"
    for row in body:
        cells = zip(heads, row, strict=True)
        yield f"<tr>{''.join(_cell(name, text) for name, text in cells)}</tr>"
    yield "</tbody></table>"


def _cell(name: str, text: str) -> str:
    kinds = {
        "Time": ' class="time"',
        "Who": ' class="who"',
        "Witness": ' class="who"',
        "Setting": ' class="who"',
    }
    named = f' data-name="{name}"' if name in ("Why", "Then") and text else ""
    return f"<td{kinds.get(name, named)}>{safe(text)}</td>"


def _steps(incident: Incident) -> Iterator[tuple[str, ...]]:
    rows: list[Mark | Bar] = [*incident.marks, *incident.bars]
    for one in sorted(rows, key=lambda row: row.at if isinstance(row, Mark) else row.begin):
        if isinstance(one, Mark):
            yield moment(one.at), one.who, f"{one.kind}: {one.words}", _rule(one.rule)
        else:
            yield moment(one.begin), "master", _step(one), f"{one.reason}{_rule(one.rule, ', ')}"


def _step(bar: Bar) -> str:
    took = (
        f"{bar.outcome} after {describe.duration(bar.end - bar.begin)}"
        if bar.end is not None
        else "no answer"
    )
    code = f" [{bar.code}]" if bar.code else ""
    return f"{doing(bar)}: {took}{code} – {bar.words}"


def _rule(number: int, before: str = "") -> str:
    return f"{before}rule {number}" if number else ""


def _evidence(incident: Incident) -> Iterator[tuple[str, ...]]:
    for said in incident.said:
        words = ", ".join(f"{key.replace('_', ' ')}: {_value(value)}" for key, value in said.facts.items())
        yield moment(said.at), said.who, words


def _rules(incident: Incident) -> Iterator[tuple[str, ...]]:
    rows = {row["rule"]: row for row in describe.table()}
    for number in incident.rules:
        row = rows.get(number, {})
        yield str(number), str(row.get("when", "")), str(row.get("then", ""))


def _settings(settings: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    for key in sorted(settings):
        yield str(key), _value(settings[key])


def _value(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "not known"}[value]
    if isinstance(value, (list, tuple)) and all(isinstance(one, str) for one in value):
        return ", ".join(value) or "none"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)


def moment(at: float, form: str = "") -> str:
    try:
        when = datetime.fromtimestamp(at, timezone.utc)
    except (OverflowError, ValueError, OSError):
        return "?"
    return when.strftime(form) if form else when.strftime("%H:%M:%S.%f")[:-3]
