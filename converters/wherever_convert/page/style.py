"""How the page looks: light and dark, wide and narrow, on a screen and on paper. Pure."""

from __future__ import annotations

# Okabe and Ito's colours (2008), which people tell apart whatever colours they see; each with a
# lighter tone for a dark page. The order is that in which engines are given one.
SERIES = (
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#ff9448"),
    ("#009e73", "#2fd3a5"),
    ("#a4527f", "#e5a1c8"),
    ("#7a6a00", "#f0e442"),
    ("#4d4d4d", "#c2c2c2"),
)

_LIGHT = """
color-scheme: light;
--page: #ffffff; --panel: #f6f7f9; --ink: #16191d; --soft: #59616c; --line: #d5d9df;
--grid: #e6e9ed; --good: #00664a; --bad: #b03a00; --warn: #fff4d6; --warn-line: #d9a400;
--heat: #0072b2; --odd: #d55e00;
"""
_DARK = """
color-scheme: dark;
--page: #14171b; --panel: #1d2126; --ink: #e9ecf0; --soft: #a5aeba; --line: #3a414a;
--grid: #2a3037; --good: #4fd8ae; --bad: #ff9d66; --warn: #33290b; --warn-line: #c79a1b;
--heat: #56b4e9; --odd: #ff9448;
"""

_RULES = """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 1.5rem clamp(1rem, 4vw, 2.5rem) 4rem; max-width: 72rem;
  background: var(--page); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h1 small { font-size: 1.1rem; font-weight: 400; color: var(--soft); }
h2 { font-size: 1.25rem; margin: 2.5rem 0 .25rem; }
h3 { font-size: 1rem; margin: 1.5rem 0 .25rem; overflow-wrap: anywhere; }
p { margin: .5rem 0; max-width: 48rem; overflow-wrap: anywhere; }
.soft, caption, figcaption { color: var(--soft); font-size: .875rem; }
code { font: .875em ui-monospace, SFMono-Regular, Consolas, "Noto Sans Mono", monospace;
  overflow-wrap: anywhere; }
bdi { overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(10.5rem, 1fr));
  gap: .75rem; margin: 1.25rem 0; padding: 0; }
.tiles div { background: var(--panel); border-radius: .5rem; padding: .75rem 1rem; min-width: 0; }
.tiles dt { color: var(--soft); font-size: .8125rem; }
.tiles dd { margin: 0; font-size: 1.25rem; font-weight: 600; overflow-wrap: anywhere; }
.tiles dd small { display: block; font-size: .8125rem; font-weight: 400; color: var(--soft); }
.warn { background: var(--warn); border-left: .25rem solid var(--warn-line); margin: 1rem 0;
  padding: .6rem 1rem; max-width: none; }
.warn p { margin: 0; max-width: none; }
figure { margin: 1rem 0; }
svg { display: block; }
.chart { width: 100%; height: auto; }
.chart text { fill: var(--ink); font: 12px system-ui, -apple-system, "Segoe UI", Roboto,
  "Noto Sans", sans-serif; }
.chart .tick { fill: var(--soft); }
.chart .grid { stroke: var(--grid); }
.chart .axis { stroke: var(--line); }
.chart .limit { stroke: var(--odd); stroke-dasharray: 6 4; }
.chart .limit-name { fill: var(--bad); }
.chart .lead { stroke: var(--soft); stroke-width: .75; }
.chart .bubble { fill-opacity: .3; stroke-width: 1.5; }
.chart .whisker { stroke-width: 1.25; stroke-opacity: .6; }
.chart .name { font-weight: 600; paint-order: stroke; stroke: var(--page); stroke-width: 3px;
  stroke-linejoin: round; }
.chart.narrow, .chart.medium { display: none; } .chart.narrow { max-width: 30rem; }
.legend { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; list-style: none; margin: .5rem 0;
  padding: 0; font-size: .875rem; color: var(--soft); }
.legend svg { display: inline-block; vertical-align: -.15em; margin-right: .4em; }
.scroll { overflow-x: auto; margin: .75rem 0; }
.scroll:focus-visible { outline: 2px solid var(--heat); }
table { border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; padding: 0 0 .5rem; white-space: nowrap; }
th, td { padding: .4rem .5rem; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--line); }
thead th, thead .number { color: var(--soft); font-weight: 600; vertical-align: bottom;
  white-space: normal; }
tbody th { font-weight: 600; min-width: 6rem; }
.figures tbody th { min-width: 8rem; } .figures tbody td bdi { white-space: nowrap; }
.figures td:last-child { min-width: 7rem; }
.wide-table { width: 100%; }
.number { text-align: right; white-space: nowrap; }
td small, th small { display: block; color: var(--soft); font-weight: 400; }
.good { color: var(--good); } .bad { color: var(--bad); }
.layers td, .layers tbody th { padding: .2rem .5rem; vertical-align: middle; }
.layers .bar { width: 45%; min-width: 7rem; vertical-align: middle; }
.layers .bar svg { width: 100%; height: .9rem; }
.layers tbody th { font-weight: 400; min-width: 9rem; }
.layers rect.int8 { fill: var(--heat); }
.layers rect.float { fill: var(--odd); }
.layers .op { color: var(--soft); }
.matrix th, .matrix td { border: 1px solid var(--page); padding: .25rem .4rem;
  text-align: center; min-width: 2rem; }
.matrix tbody th { text-align: right; font-weight: 400; min-width: 0; }
.matrix th bdi { display: inline-block; max-width: 9rem; overflow: hidden; white-space: nowrap;
  text-overflow: ellipsis; vertical-align: bottom; }
.matrix .up { vertical-align: bottom; font-weight: 400; }
.matrix .up bdi { writing-mode: vertical-rl; max-width: none; max-height: 8rem; }
.matrix td { background: var(--panel); } .matrix .corner { background: none; }
.matrix .zero { color: transparent; }
.h1 { --share: 18%; } .h2 { --share: 36%; } .h3 { --share: 54%; }
.matrix .same.h1, .matrix .same.h2, .matrix .same.h3 {
  background: color-mix(in srgb, var(--heat) var(--share), var(--page)); }
.matrix .other.h1, .matrix .other.h2, .matrix .other.h3 {
  background: color-mix(in srgb, var(--odd) var(--share), var(--page)); }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .75rem;
  margin: .75rem 0; }
.cards.large { grid-template-columns: repeat(auto-fill, minmax(18rem, 1fr)); }
.card { background: var(--panel); border-radius: .5rem; padding: .75rem; min-width: 0;
  font-size: .875rem; overflow-wrap: anywhere; break-inside: avoid; }
.card .picture { width: 100%; height: auto; max-height: 18rem; border-radius: .25rem;
  background: var(--grid); margin-bottom: .5rem; }
.card .pixels { image-rendering: pixelated; width: 8rem; height: auto; }
.card .curve { width: 100%; height: 3rem; margin-bottom: .5rem; }
.card .curve polyline { fill: none; stroke: var(--heat); stroke-width: 1.5; }
.card .quote { border-left: .2rem solid var(--line); padding-left: .6rem; margin: 0 0 .5rem;
  white-space: pre-wrap; }
.card .source { color: var(--soft); font-size: .8125rem; margin-top: .25rem; }
.card dl { margin: .4rem 0 0; display: grid; grid-template-columns: auto 1fr; gap: 0 .6rem; }
.card dt { color: var(--soft); } .card dd { margin: 0; min-width: 0; }
.picture rect { fill: none; stroke-width: 2.5; }
.picture .box-reference { stroke: #56b4e9; }
.picture .box-variant { stroke: #ffb000; stroke-dasharray: 7 4; }
.badge { font-weight: 600; }
details { margin: .75rem 0; }
summary { cursor: pointer; color: var(--soft); }
ol, ul.plain { padding-left: 1.25rem; margin: .5rem 0; } li { overflow-wrap: anywhere; }
.facts { display: grid; grid-template-columns: minmax(8rem, 14rem) 1fr; gap: .15rem 1rem;
  font-size: .875rem; margin: .5rem 0; }
.facts dt { color: var(--soft); overflow-wrap: anywhere; }
.facts dd { margin: 0; overflow-wrap: anywhere; min-width: 0; }
footer { margin-top: 3rem; padding-top: 1rem; border-top: 1px solid var(--line); }
@media (max-width: 62rem) { .chart.wide { display: none; } .chart.medium { display: block; } }
@media (max-width: 40rem) {
  .chart.medium { display: none; } .chart.narrow { display: block; }
  .facts { grid-template-columns: 1fr; gap: 0; } .facts dd { margin-bottom: .4rem; }
  .tiles { grid-template-columns: 1fr 1fr; }
}
@media print {
  body { max-width: none; padding: 0; font-size: 10pt; }
  h2, h3 { break-after: avoid; } figure, .warn, tr { break-inside: avoid; }
  .scroll { overflow: visible; } table { font-size: 8pt; }
  th, td { padding: .2rem .35rem; }
  .card, .tiles div, .warn, .matrix td, rect, svg { print-color-adjust: exact;
    -webkit-print-color-adjust: exact; }
}
@page { margin: 15mm; }
"""


def stylesheet() -> str:
    """The page's only style sheet."""
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{{_DARK}{_tones(1)}}} }}"
    classes = "".join(
        f".chart .s{number}, .legend .s{number} {{ fill: var(--s{number}); "
        f"stroke: var(--s{number}); }}\n"
        for number in range(len(SERIES))
    )
    return f":root {{{_LIGHT}{_tones(0)}}}\n{dark}\n{_RULES}{classes}"


def _tones(which: int) -> str:
    return " ".join(f"--s{number}: {tones[which]};" for number, tones in enumerate(SERIES))
