"""The look of the dataset card, beside the common one of `data.page`."""

STYLE = """
main > section { border-top: 1px solid var(--line); margin-top: 2em; padding-top: .4em }
h1 { line-height: 1.2; margin-bottom: .2em }
h2 { font-size: 1.35em; margin: .5em 0 }
h3 { font-size: 1em; margin: .2em 0 .3em }
h2, h3 { break-after: avoid }
a { color: var(--one) }
code { font-size: .9em; overflow-wrap: anywhere }
nav { font-size: .92em }
nav a { margin-right: 1em; display: inline-block }
.soft, figcaption, .legend { color: var(--soft); font-size: .88em }
.legend { margin: .2em 0 .2em -.9em }
.ok { color: var(--fine) }

.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8em, 1fr)); gap: .8em; margin: 1em 0 }
.tiles div, .block { background: var(--card); border: 1px solid var(--line); border-radius: 6px }
.tiles div, .block { padding: .7em .9em }
.tiles b { display: block; font-size: 1.6em; line-height: 1.25 }
.tiles span { color: var(--soft); font-size: .88em }
.grid { columns: 21em; column-gap: 1em }
.grid > .block { margin-bottom: 1em; display: inline-block; width: 100% }
.block { break-inside: avoid; min-width: 0 }

table.bars { width: 100% }
table.bars td:last-child { width: 30%; padding-right: 0 }
.bars td, .numbers td { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.bars th, .numbers th, .bars td, .numbers td { padding: .15em .8em .15em 0 }
tbody th { color: var(--ink) }
.bars th .soft { overflow-wrap: anywhere }
thead th { font-size: .82em }
.bars thead th:not(:first-child), .numbers thead th:not(:first-child) { text-align: right }
.wide { overflow-x: auto }
.labels, .reasons { width: 100% }
.labels td { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums }
.labels thead th:not(:first-child) { text-align: right }
.labels th, .labels td, .reasons th, .reasons td { padding: .15em .8em .15em 0 }
.labels td:has(svg), .reasons td:has(svg) { min-width: 7em; width: 22% }
.labels tbody th { position: sticky; left: 0; background: var(--paper) }
.labels tbody th, .reasons tbody th { min-width: 9em }
.reasons td:last-child { min-width: 10em }
.reasons td:not(:last-child) { text-align: right; white-space: nowrap }

figure { margin: 0; break-inside: avoid; min-width: 0 }
.sheet { display: grid; grid-template-columns: repeat(auto-fill, minmax(8em, 1fr)); gap: .6em }
.sheet { margin: .4em 0 1em }
.sheet img { width: 100%; height: auto; aspect-ratio: 1; object-fit: contain; display: block }
.sheet figcaption { font-size: .72em; line-height: 1.35; overflow-wrap: anywhere }

@media print {
  body { font-size: 11px; margin: 0; max-width: none }
  nav { display: none }
  .grid { display: grid; grid-template-columns: 1fr 1fr; gap: 1em; align-items: start }
  .grid > .block { margin: 0 }
  .sheet { grid-template-columns: repeat(8, 1fr) }
}
@media (max-width: 30em) {
  .sheet { grid-template-columns: repeat(3, 1fr) }
  table.bars td:last-child { width: 22% }
}
"""
