"""De-identification: the key, keyed hashes, and the split of a patient.

Ids are the first 16 hexadecimal digits of an HMAC-SHA256: without the key nobody can test a
guessed patient id against them, and with it the same patient keeps the same id in every run.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets as random_bytes
import stat
from collections.abc import Sequence
from pathlib import Path

from xraytk.errors import DataError, MachineError, UsageError
from xraytk.files import explain_os_errors
from xraytk.records import SPLITS, Identity

_KEY_BYTES = 32


def key_path(path: Path | None = None) -> Path:
    """Where the key lies: ``path``, else $XRAYTK_KEY, else the user's configuration folder."""
    if path is not None:
        return Path(path)
    named = os.environ.get("XRAYTK_KEY", "")
    if named:
        return Path(named)
    folder = os.environ.get("XDG_CONFIG_HOME", "")
    return (Path(folder) if folder else Path.home() / ".config") / "xraytk" / "key"


def load_key(path: Path | None = None, *, outside: Path | None = None) -> bytes:
    """Load the key of the hashes; make it (32 random bytes, mode 0600) where there is none.

    Args:
        path: The key file; None takes the default of `key_path`.
        outside: A folder in which the key must not lie: the output, which may be given away.

    Returns:
        32 bytes.

    Raises:
        UsageError: If the key lies inside ``outside``.
        DataError: If others may read it, or it is not 64 hexadecimal digits.
        MachineError: If it cannot be read or made.

    Source:
        Ours: the key never enters an output folder, a log or a message.
    """
    key, is_new = open_key(path, outside=outside)
    if is_new and not keep_key(path, key):
        return open_key(path, outside=outside)[0]
    return key


def open_key(path: Path | None = None, *, outside: Path | None = None) -> tuple[bytes, bool]:
    """Load the key, or draw one that nothing holds yet, for `keep_key` to keep.

    A run that is refused for another reason then leaves no key behind.

    Args:
        path: See `load_key`.
        outside: See `load_key`.

    Returns:
        32 bytes, and whether they are new.

    Raises:
        UsageError: See `load_key`.
        DataError: See `load_key`.
        MachineError: See `load_key`.
    """
    file = key_path(path)
    if outside is not None and file.resolve().is_relative_to(outside.resolve()):
        raise UsageError(
            "the key lies inside the output folder",
            "whoever is given the folder could undo the hashes",
            "Choose another place with --key or $XRAYTK_KEY.",
        )
    try:
        mode, text = _read_key(file)
    except FileNotFoundError:
        return random_bytes.token_bytes(_KEY_BYTES), True
    if stat.S_IMODE(mode) & 0o077:
        raise DataError(
            f"the key {file} may be read by others",
            f"its mode is {stat.S_IMODE(mode):04o}, wanted 0600",
            f"Run `chmod 600 {file}`.",
        )
    digits = text.strip()
    if not re.fullmatch(rb"[0-9a-fA-F]{%d}" % (2 * _KEY_BYTES), digits):
        raise DataError(
            f"the key {file} is not a key",
            f"wanted {2 * _KEY_BYTES} hexadecimal digits",
            "Bring back the key that was there, or name a file that does not exist to make a new one.",
        )
    return bytes.fromhex(digits.decode()), False


def _read_key(file: Path) -> tuple[int, bytes]:
    try:
        with file.open("rb") as stream:
            return os.fstat(stream.fileno()).st_mode, stream.read(4 * _KEY_BYTES)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise MachineError(f"the key {file} cannot be read", os.strerror(error.errno or 0)) from None


def keep_key(path: Path | None, key: bytes) -> bool:
    """Write a new key, mode 0600.

    Args:
        path: See `load_key`.
        key: From `open_key`.

    Returns:
        Whether it was kept; of several processes that try at once one wins, and all use its key.

    Raises:
        MachineError: If it cannot be written.
    """
    file = key_path(path)
    temporary = file.with_name(f".tmp-{os.getpid()}-{random_bytes.token_hex(4)}-key")
    with explain_os_errors(file):
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            number = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(number, "w") as stream:
                stream.write(key.hex() + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            os.link(temporary, file)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
    return True


def hashed(key: bytes, kind: str, value: str) -> str:
    """Keyed hash of a value.

    Args:
        key: From `load_key`.
        kind: What the value is ("image", "patient", "study", ...), so that equal texts of
            different kinds have different hashes.
        value: The text.

    Returns:
        The first 16 hexadecimal digits of HMAC-SHA256(key, "kind:value").
    """
    message = f"{kind}:{value}".encode("utf-8", "surrogatepass")
    return hmac.digest(key, message, "sha256").hex()[:16]


class Hasher:
    """`hashed` for one key and kind, at half its cost: for a million values.

    Args:
        key: From `load_key`.
        kind: What the values are.
    """

    def __init__(self, key: bytes, kind: str) -> None:
        if len(key) > 64:
            key = hashlib.sha256(key).digest()
        block = key.ljust(64, b"\0")
        self._inner = hashlib.sha256(bytes(b ^ 0x36 for b in block) + f"{kind}:".encode())
        self._outer = hashlib.sha256(bytes(b ^ 0x5C for b in block))

    def __call__(self, value: str) -> str:
        """The same as `hashed`."""
        inner, outer = self._inner.copy(), self._outer.copy()
        inner.update(value.encode("utf-8", "surrogatepass"))
        outer.update(inner.digest())
        return outer.hexdigest()[:16]


def patient_of(key: bytes, identity: Identity) -> str:
    """Keyed hash of the patient; without one, of the study, else of the image.

    Returns:
        16 hexadecimal digits; "" when nothing identifies even the image.
    """
    patient, study, sop = (
        text.strip(" \0") for text in (identity.patient_id, identity.study_uid, identity.sop_uid)
    )
    who = patient or (f"study:{study}" if study else f"image:{sop}" if sop else "")
    return hashed(key, "patient", who) if who else ""


def split_of(patient_hash: str, shares: Sequence[float] = (0.8, 0.1, 0.1)) -> str:
    """Draw a patient's split; all images of a patient share it, in every run.

    Args:
        patient_hash: 16 hexadecimal digits; uniform, since it is keyed.
        shares: Of train, val and test; they sum to 1.

    Returns:
        "train", "val" or "test".

    Source:
        Ours: a function of the hash alone, so that new patients move nobody.
    """
    place = (int(patient_hash, 16) >> 11) / 2.0**53  # in [0, 1), exact
    if place < shares[0]:
        return SPLITS[0]
    return SPLITS[1] if place < shares[0] + shares[1] else SPLITS[2]
