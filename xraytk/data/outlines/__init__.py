"""Contours of other people's tools: one file a format, and what they have in common.

`formats` tells formats by content and lists them; a format's module has ``read(path)``, an
iterator of `Outline` and `Refusal`, and ``write(rows, folder)``. `whose` finds the image of a row,
`place` moves its outlines into the ingested image, `bring` and `give` are the two ways.
"""
