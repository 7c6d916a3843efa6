"""Whether a file is a Structured Report, by the class in its first bytes.

Apart from `xraytk.data.sr`, whose patterns for text take most of a second to import: of the
worker processes only those pay for it that meet a report.
"""

from __future__ import annotations

import re

_UID = rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.88\.(?:11|22|3[345])"
_LONG_UID = rb"[\x1d\x1e]"  # 29 characters, and the byte that makes them even
_IS_SR = re.compile(
    rb"(?:\x02\0\x02\0UI" + _LONG_UID + rb"\0"
    rb"|\x08\0\x16\0(?:UI" + _LONG_UID + rb"\0|" + _LONG_UID + rb"\0\0\0)"
    rb"|\0\x08\0\x16UI\0" + _LONG_UID + rb")" + _UID + rb"(?![.\d])",
    re.DOTALL,
)
_HEAD_BYTES = 4096


def is_sr(data: bytes) -> bool:
    """Whether a file's bytes begin like a Structured Report that holds text.

    Args:
        data: The file, or its first 4 KiB.

    Source:
        DICOM PS3.4 B.5 (SOP classes); the class stands in the file meta information, or early in
        the data set.
    """
    return _IS_SR.search(data[:_HEAD_BYTES]) is not None
