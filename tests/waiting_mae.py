"""The masked autoencoder, which waits in one forward pass for a signal when a test asks it to."""

from __future__ import annotations

import os
import time
from pathlib import Path

from xraytk.chance import Chance
from xraytk.objectives.mae import MaeObjective
from xraytk.records import Batch, Loss


class WaitingMae(MaeObjective):
    """Waits in forward pass ``$WAIT_AT`` until ``$WAIT_FILE``, which it writes its process to, is gone."""

    passes = 0

    def forward(self, batch: Batch, chance: Chance) -> Loss:
        self.passes += self.training
        if self.passes == int(os.environ.get("WAIT_AT", "0")):
            place = Path(os.environ["WAIT_FILE"])
            place.with_suffix(".tmp").write_text(str(os.getpid()))
            place.with_suffix(".tmp").rename(place)
            while place.exists():
                time.sleep(0.01)
        return super().forward(batch, chance)
