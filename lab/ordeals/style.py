"""How the report of a campaign looks, light and dark, on a desk and on a telephone."""

STYLE = """
:root { color-scheme: light dark; --bg: #fff; --fg: #1b1f24; --dim: #59636e; --line: #d1d9e0; --soft: #f3f5f7;
  --good: #1a7f37; --bad: #c4232b; --dot: #0a5dc2; }
@media (prefers-color-scheme: dark) { :root { --bg: #14171b; --fg: #e4e8ec; --dim: #a3adb8; --line: #373e47;
  --soft: #1e2329; --good: #46c065; --bad: #ff7b72; --dot: #6cb0ff; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 64rem; background: var(--bg); color: var(--fg);
  font: 15px/1.5 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.5rem; line-height: 1.25; margin: .5rem 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
.good, .bad { font-weight: 600; } .good { color: var(--good); } .bad { color: var(--bad); }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; margin: 1rem 0; }
.figures div { background: var(--soft); border: 1px solid var(--line); border-radius: 6px; padding: .5rem .75rem; }
.figures dt { color: var(--dim); font-size: .85rem; } .figures dd { margin: 0; font-size: 1.2rem; font-weight: 600; }
figure { margin: 0; } figcaption { color: var(--dim); font-size: .85rem; margin-top: .5rem; }
svg { display: block; width: 100%; height: auto; } svg.narrow { display: none; }
svg text { fill: var(--fg); font: 13px system-ui, sans-serif; } svg .tick { fill: var(--dim); font-size: 12px; }
svg .grid { stroke: var(--line); } svg .median { stroke: var(--fg); stroke-width: 2; }
svg .dot { fill: var(--dot); fill-opacity: .6; stroke: var(--dot); } svg .two { fill: none; }
svg .dot.bad { stroke: var(--bad); fill: var(--bad); } svg .dot.bad.two { fill: none; }
table { border-collapse: collapse; width: 100%; } th, td { text-align: left; vertical-align: top; padding: .35rem .6rem .35rem 0;
  border-bottom: 1px solid var(--line); } th { color: var(--dim); font-weight: 600; }
td:first-child, td:not(.text), th { white-space: nowrap; }
td.text { min-width: 11rem; } summary { margin: 2rem 0 .5rem; font-weight: 600; cursor: pointer; }
@media (max-width: 640px) { svg.wide { display: none; } svg.narrow { display: block; }
  thead { display: none; } tr { display: block; padding: .5rem 0; border-bottom: 1px solid var(--line); }
  td { display: block; border: 0; padding: 0; } td:first-child { font-weight: 600; }
  td:empty { display: none; } td:not(:first-child)::before { content: attr(data-name) ": "; color: var(--dim); } }
"""
