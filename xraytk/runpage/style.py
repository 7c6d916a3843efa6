"""The look of a run's page, beside the common one of `data.page`."""

from xraytk.data import charts as bars
from xraytk.runpage import charts

STYLE = (
    bars.STYLE
    + charts.STYLE
    + """
h1 { line-height: 1.2; margin-bottom: .2em }
h2 { font-size: 1.3em; margin: 1.6em 0 .5em; border-top: 1px solid var(--line); padding-top: .7em }
h3 { font-size: .95em; margin: 0 0 .3em; font-weight: 600 }
h2, h3 { break-after: avoid }
.state { font-size: .55em; vertical-align: middle; border: 1px solid; border-radius: 1em;
  padding: .15em .8em; margin-left: .6em; white-space: nowrap; font-weight: 600 }
.finished { color: var(--fine) } .running { color: var(--one) }
.stopped { color: var(--two) } .failed, .killed { color: var(--alarm) }
.soft, figcaption, .legend { color: var(--soft); font-size: .88em; margin: .2em 0 }
.legend .key:first-child { margin-left: 0 }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.5em, 1fr)); gap: .8em;
  margin: 1em 0 }
.tiles div, .block { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: .7em .9em; min-width: 0 }
.tiles b { display: block; font-size: 1.45em; line-height: 1.25 }
.tiles span { color: var(--soft); font-size: .86em }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(21em, 100%), 1fr)); gap: 1em }
.block { break-inside: avoid }
figure { margin: .6em 0 1.2em }
.wide { overflow-x: auto }
.wide img { width: 100%; min-width: 54em; height: auto; display: block; border-radius: 6px }
table { font-size: .92em } td, th { padding: .2em 1.2em .2em 0 }
th { white-space: nowrap }
td { overflow-wrap: anywhere }
.wide td { white-space: nowrap }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .8em 1em;
  overflow-x: auto; font-size: .86em; line-height: 1.5 }
summary { cursor: pointer; color: var(--one) }
.bar { height: .55em !important; margin: .2em 0 1em }
@media (max-width: 30em) { .block { padding: .6em .5em } .tiles { grid-template-columns: 1fr 1fr } }
@media print { .wide img { min-width: 0 } }
"""
)
