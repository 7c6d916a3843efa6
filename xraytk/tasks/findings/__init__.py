"""What a chest report says: fourteen findings, in English and in Chinese, by rules.

>>> from xraytk.tasks.findings import label
>>> label("Small left effusion. No pneumothorax.", "en").findings["Pleural Effusion"]
1
"""

from xraytk.tasks.findings.label import label, label_many
from xraytk.tasks.findings.labels import FINDINGS, Labels, Mention, Side, aggregate
from xraytk.tasks.findings.sentences import language_of

__all__ = ["FINDINGS", "Labels", "Mention", "Side", "aggregate", "label", "label_many", "language_of"]
