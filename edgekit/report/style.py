"""How every page looks: on a phone, on a wide screen, in the dark, and on paper."""

from __future__ import annotations

from typing import Final

COLOURS: Final = ("#0b62a8", "#b3430f", "#2a7a2e", "#8a2d8f", "#7a5b00", "#006d75", "#a3123c", "#4d4d4d")
DARK_COLOURS: Final = ("#6db7f2", "#f0996b", "#7fce84", "#d99ade", "#e0c15c", "#5fcdd6", "#f28aa9", "#c2c2c2")


def _series(colours: tuple[str, ...]) -> str:
    return "".join(f".series{number} {{ color: {colour}; }}\n" for number, colour in enumerate(colours))


_DARK: Final = """--ink: #ececec; --soft: #b4b4b4; --paper: #161616; --raised: #202020; --rule: #4a4a4a; --edge: #858585;
  --accent: #6db7f2; --bar: #3c7db1; --mark: #f0996b;
  --heat1: #12283a; --heat2: #16395a; --heat3: #1a4b79; --heat4: #205e98; --miss1: #3a2313; --miss2: #59301a; --miss3: #7a3d1e;"""

STYLE: Final = (
    """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #555555; --paper: #ffffff; --raised: #f5f6f8; --rule: #c9c9c9;
  --edge: #767676; --accent: #0b62a8; --bar: #7fb2da; --mark: #b3430f;
  --heat1: #e9f2fa; --heat2: #cfe3f4; --heat3: #aed0ec; --heat4: #8abae2; --miss1: #fbeadf; --miss2: #f6d0b8; --miss3: #f0b491; }
@media (prefers-color-scheme: dark) { :root { DARK } }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 66rem;
  margin: 0 auto; padding: 1rem 1rem 4rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: .5rem 0; }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .5rem; padding-top: .5rem; border-top: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; }
p { max-width: 46rem; margin: .5rem 0; }
a { color: var(--accent); }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .875rem; }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.skip { position: absolute; left: -100rem; } .skip:focus { left: 1rem; background: var(--paper); padding: .5rem; }
.lead, .soft { color: var(--soft); }
nav ul { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; font-size: .9rem; }
nav li { padding: .15rem 0; }
dl.facts { display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: .25rem 1.25rem; margin: .5rem 0; }
dl.facts dt { color: var(--soft); } dl.facts dd { margin: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .75rem; padding: 0; list-style: none; }
.tiles li { background: var(--raised); border: 1px solid var(--rule); border-radius: .5rem; padding: .75rem 1rem;
  break-inside: avoid; }
.tiles .name { color: var(--soft); font-size: .9rem; } .tiles .value { font-size: 1.6rem; font-weight: 600; line-height: 1.3; }
.tiles .interval { color: var(--soft); font-size: .85rem; }
.evidence { font-size: .75rem; border: 1px solid var(--edge); border-radius: .75rem; padding: 0 .45rem; white-space: nowrap; }
.evidence.measured { border-style: solid; font-weight: 600; } .evidence.predicted, .evidence.emulated { border-style: dashed; }
figure { margin: 1rem 0; break-inside: avoid; } figcaption { font-weight: 600; }
svg { width: 100%; height: auto; } svg text { font-size: 13px; fill: var(--ink); }
figure > svg { display: block; max-width: 50rem; }
.grid { stroke: var(--rule); } .line { fill: none; stroke: currentColor; stroke-width: 2; }
.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 0 1rem; font-size: .85rem; }
.scroll { overflow-x: auto; margin: .5rem 0; } table { border-collapse: collapse; font-size: .9rem; }
th, td { border-bottom: 1px solid var(--rule); padding: .3rem .6rem; text-align: left; vertical-align: top;
  overflow-wrap: normal; }
td.number, th.number { text-align: right; }
td.number, td.line { font-variant-numeric: tabular-nums; white-space: nowrap; } td.source { min-width: 16rem; }
th[scope="row"] { min-width: 6rem; } th[scope="row"], thead th:first-child { position: sticky; left: 0; background: var(--paper); }
table.waterfall th[scope="row"] { min-width: 9rem; } table.confusion th[scope="row"] { white-space: nowrap; }
td small, th small { display: block; color: var(--soft); font-weight: 400; }
svg.bar { display: block; width: 100%; min-width: 5rem; height: .5rem; margin-top: .2rem; }
svg.bar rect { fill: var(--bar); }
table.confusion td { text-align: center; font-variant-numeric: tabular-nums; border: 1px solid var(--paper); min-width: 2.2rem; }
table.confusion thead th { vertical-align: bottom; } table.confusion .upright { writing-mode: vertical-rl; }
td.none { color: var(--soft); }
.heat1 { background: var(--heat1); } .heat2 { background: var(--heat2); } .heat3 { background: var(--heat3); }
.heat4 { background: var(--heat4); }
.miss1 { background: var(--miss1); } .miss2 { background: var(--miss2); } .miss3 { background: var(--miss3); }
.envelope { fill: none; stroke: var(--bar); stroke-width: 2; } .limit { stroke: var(--mark); stroke-dasharray: 5 4; }
.point { cursor: pointer; outline: none; } .point .hit { fill: transparent; }
.point .dot { fill: var(--paper); stroke: var(--accent); stroke-width: 2; }
.point[aria-checked="true"] .dot { fill: var(--accent); }
.point.built .dot { stroke: var(--mark); } .point.built[aria-checked="true"] .dot { fill: var(--mark); }
.point:focus-visible .hit { stroke: var(--accent); stroke-width: 2; }
.detail { background: var(--raised); border: 1px solid var(--rule); border-radius: .5rem; padding: .5rem 1rem; }
.command { display: flex; gap: .5rem; align-items: flex-start; margin: .5rem 0; }
.command pre { flex: 1; min-width: 0; margin: 0; padding: .5rem .75rem; background: var(--raised); border: 1px solid var(--rule);
  border-radius: .35rem; white-space: pre-wrap; }
button { font: inherit; font-size: .9rem; min-height: 2.25rem; padding: .25rem .75rem; color: var(--ink); background: var(--paper);
  border: 1px solid var(--edge); border-radius: .35rem; cursor: pointer; }
button:hover { border-color: var(--accent); color: var(--accent); }
summary { cursor: pointer; padding: .35rem 0; color: var(--accent); }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
[hidden] { display: none !important; }
@media (max-width: 40rem) {
  svg text { font-size: 21px; } .point .hit { r: 24px; } .point .dot { transform: scale(1.5); }
  dl.facts { grid-template-columns: 1fr; gap: 0; } dl.facts dd { margin-bottom: .5rem; }
  table.confusion th[scope="row"] { white-space: normal; max-width: 9rem; }
  .tiles { grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); } .tiles .value { font-size: 1.25rem; }
}
@media print {
  :root { --ink: #000000; --soft: #444444; --paper: #ffffff; }
  html { font-size: 10px; } body { max-width: none; font-size: 1rem; padding: 0; } th { position: static !important; }
  nav, button, .skip { display: none !important; }
  h2, h3 { break-after: avoid; } tr { break-inside: avoid; } .scroll { overflow: visible; }
  details::details-content { content-visibility: visible; height: auto; } summary { color: var(--ink); }
  * { print-color-adjust: exact; }
}
""".replace("DARK", _DARK)
    + _series(COLOURS)
    + f"@media (prefers-color-scheme: dark) {{\n{_series(DARK_COLOURS)}}}\n"
)
