"""What pretraining can minimise: a literal table of ``module:Class``.

An objective is an ``nn.Module`` that is a `records.Learner`, made by
``Class.build(vit, options)``. Any other ``package.module:Class`` can be named instead of a row.
"""

from __future__ import annotations

OBJECTIVES = {
    "mae": "xraytk.objectives.mae:MaeObjective",
}
