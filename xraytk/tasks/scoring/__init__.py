"""Scores of anybody's predictions: read, match, score, compare, show. No model and no torch here.

- ``given``: tables of predictions and references, and every doubt about them.
- ``words``, ``r2gen``, ``clinical``, ``external``: how reports are counted.
- ``reports``, ``labels``: from tables to a `scored.Scored`; ``groups``: subgroups.
- ``versus``: two systems on the same images.
- ``grid``, ``plots``, ``marked``, ``pages``: what people look at.
"""
