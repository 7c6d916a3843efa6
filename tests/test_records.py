from __future__ import annotations

import json
import math
from pathlib import Path

from xraytk.records import Identity, Prediction, as_plain


def test_an_identity_never_prints_itself() -> None:
    secret = Identity(patient_id="P1", study_uid="1.2", sop_uid="1.3", accession="A1", secrets=("Ann",))
    assert repr(secret) == "Identity()"


def test_results_become_plain_json() -> None:
    value = {"p": Prediction("a", "b", scores={"x": math.nan}), "path": Path("x/y"), "t": (1, 2.5)}
    plain = as_plain(value)
    assert plain["p"]["scores"] == {"x": None}
    assert json.loads(json.dumps(plain))["path"] == "x/y"
