"""How a decoder's words are chosen: greedily, by beams, or by chance with a seed. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

from xraytk.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """How to choose the words of a report.

    Args:
        beam: Beams; 1 is greedy.
        length_penalty: Beams are ranked by the sum of their log-probabilities, divided by their
            length to this power: 0 ranks by the sum (R2Gen), 1 by the mean.
        no_repeat: Forbid repeating n-grams of this length; 0 forbids none.
        sample: Draw each word by its probability; needs one beam.
        temperature: Divides the logits before a word is drawn.
        top_k: Draw only from so many of the likeliest words; 0 from all.
        top_p: Draw only from the likeliest words that have this share of the probability.
        seed: Of the draws. Each image has its own, whatever else is in its batch.
        cached: Keep keys, values and memory of earlier words: faster, and the same text.
    """

    beam: int = 3
    length_penalty: float = 1.0
    no_repeat: int = 0
    sample: bool = False
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    seed: int = 0
    cached: bool = True

    def __post_init__(self) -> None:
        """Check each value.

        Raises:
            UsageError: If one is out of range, or two do not go together.
        """
        for name, least in (("beam", 1), ("no_repeat", 0), ("top_k", 0), ("seed", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"search.{name} is {getattr(self, name)}", f"wanted at least {least}")
        if self.temperature <= 0:
            raise UsageError(f"search.temperature is {self.temperature:g}", "wanted more than 0")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"search.top_p is {self.top_p:g}", "wanted a share, above 0 and up to 1")
        if self.sample and self.beam > 1:
            raise UsageError(
                f"search.sample draws one text, and search.beam is {self.beam}", todo="Set search.beam=1 too."
            )


GREEDY = SearchConfig(beam=1)
