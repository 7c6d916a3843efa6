"""xraytk: from a hospital's chest radiographs to a foundation model, reports and diagnoses.

The map of the house, each floor built only on those below it:

- ``cli``: flags to Config, Config to a verb, one summary out. Knows typer and rich.
- verbs, one per subcommand, each a ``Config`` and ``run(config, progress) -> Result``:
  ``ingest``, ``mask``, ``curate``, ``shard``, ``pretrain``, ``finetune``, ``evaluate``, ``report``,
  ``export`` and ``embed`` (an encoder and its features for other tools), ``plan`` (how long it takes),
  ``wrap`` (pictures to DICOM), ``demo`` (the whole road on phantoms).
- ``objectives`` (what pretraining minimises), ``tasks`` (what finetuning serves),
  ``train`` (the only training loop).
- ``data``, ``models``: the nouns.
- ground: ``records``, ``config``, ``errors``, ``progress``, ``distributed``, ``files``.

What lies on disk between verbs is the interface between them; the README describes it.

Research software: not a medical device, not for clinical decisions.
"""

__version__ = "0.1.0"
