"""What pretraining can minimise: a literal table of ``module:Class``.

An objective is an ``nn.Module`` that is a `records.Learner`, made by
``Class.build(vit, options)``. Any other ``package.module:Class`` can be named instead of a row.

Three things are for those that want them. A class attribute ``options`` is the dataclass of its
options: the config of a run then holds every option, also those that nobody has given. A ``build``
with a parameter ``vocabulary`` is given a `models.text_encoder.VocabularySource`: the training
reports are read when it is called, not before. An attribute ``together`` says how many images are
compared with each other in one forward pass over all processes (0: the whole batch), and then a
batch is never cut into smaller parts.
"""

from __future__ import annotations

OBJECTIVES = {
    "clip": "xraytk.objectives.clip:ClipObjective",
    "m3ae": "xraytk.objectives.m3ae:M3aeObjective",
    "maco": "xraytk.objectives.maco:MacoObjective",
    "mae": "xraytk.objectives.mae:MaeObjective",
    "mrm": "xraytk.objectives.mrm:MrmObjective",
}
