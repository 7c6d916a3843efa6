"""Config: TOML and overrides into frozen dataclasses and back.

Order, the later wins: the dataclass's defaults, ``--preset``, ``--config file.toml``,
``--set key=value``, named flags. Tables are at most two levels deep. A field annotated
``dict[str, Any]`` takes a table that another dataclass will read (an objective's options); with
``metadata={"by": KEY}`` presets hold one such table for each value of KEY, and that of the value
which is chosen in the end is taken: ``[pretrain.options.clip]`` counts with objective "clip" only;
``"row"``, a function, finds the table of a value that is not in the presets.
"""

from __future__ import annotations

import dataclasses
import difflib
import importlib
import importlib.resources
import math
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin

import tomli_w

from xraytk.errors import UsageError

T = TypeVar("T")

Pixels = int | tuple[int, int]
"""Size of an image: one number for a square, or [rows, columns]."""


def rows_cols(pixels: Pixels | Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a size: (n, n) of one number n."""
    if isinstance(pixels, int):
        return pixels, pixels
    rows, cols = pixels
    return rows, cols


def load(
    cls: type[T],
    *,
    preset: str | None = None,
    file: Path | None = None,
    sets: Sequence[str] = (),
    flags: Mapping[str, Any] | None = None,
) -> T:
    """Build a config from all its sources.

    Args:
        cls: The dataclass.
        preset: Name of a file in ``xraytk/presets``, without its ending.
        file: A TOML file of the user's.
        sets: Texts like ``optim.lr=1e-4``; the value is TOML, or else taken as text.
        flags: Dotted keys to values; a value of None means that the flag was not given.

    Returns:
        An instance of ``cls``.

    Raises:
        UsageError: With every unknown key and every wrong value at once.
    """
    tree: dict[str, Any] = {}
    tables: dict[str, Any] = {}
    if preset is not None:
        merge(tree, read_preset(preset, _verb_of(cls)))
        tables = {f.name: tree.pop(f.name) for f in _by_another(cls) if f.name in tree}
    if file is not None:
        merge(tree, read_toml(file))
    for text in sets:
        key, value = _parse_set(text)
        merge(tree, _nest(key, value))
    for key, value in (flags or {}).items():
        if value is not None:
            merge(tree, _nest(key, value))
    usual = {f.name: f.default for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for f in _by_another(cls):
        chosen = tree.get(f.metadata["by"], usual[f.metadata["by"]])
        table = tables.get(f.name, {}).get(f.metadata.get("row", str)(chosen), {})
        if table and isinstance(given := tree.get(f.name, {}), Mapping):
            merge(table, given)
            tree[f.name] = table
    return build(cls, tree)


def _by_another(cls: type) -> list[dataclasses.Field[Any]]:
    """Fields whose table in a preset depends on the value of another field."""
    return [f for f in dataclasses.fields(cls) if "by" in f.metadata]


def build(cls: type[T], tree: Mapping[str, Any], prefix: str = "") -> T:
    """Build ``cls`` from a tree of plain values, checking keys and types.

    Args:
        cls: The dataclass.
        tree: Nested dictionaries as TOML gives them.
        prefix: Dotted prefix of the keys, for messages.

    Raises:
        UsageError: With every unknown key and every wrong value at once.
    """
    problems: list[str] = []
    made = _build(cls, tree, prefix, problems)
    if problems:
        raise UsageError(
            f"the configuration has {len(problems)} problem{'s' * (len(problems) > 1)}",
            "\n".join(problems),
            "`--show-config` prints every key with its value.",
        )
    return cast(T, made)


def _build(cls: type, tree: Mapping[str, Any], prefix: str, problems: list[str]) -> Any:
    known = {f.name: f for f in dataclasses.fields(cls)}
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for key, value in tree.items():
        dotted = f"{prefix}{key}"
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {prefix}{near[0]}?" if near else ""
            problems.append(f"unknown key {dotted}{hint}")
            continue
        kind = hints[key]
        if dataclasses.is_dataclass(kind):
            if not isinstance(value, Mapping):
                problems.append(f"{dotted} is a table, found {value!r}")
                continue
            table = _defaults(known[key])  # the field's own, which need not be those of its class
            merge(table, value)
            values[key] = _build(cast(type, kind), table, f"{dotted}.", problems)
        else:
            try:
                values[key] = _convert(value, kind)
            except (ValueError, TypeError):
                problems.append(f"{dotted} must be {_say(kind)}, found {value!r}")
    missing = [
        name
        for name, f in known.items()
        if name not in tree and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    problems.extend(f"{prefix}{name} is not given" for name in missing)
    if problems:
        return None
    try:
        return cls(**values)
    except UsageError as error:
        problems.append(str(error))
        return None


def _defaults(nested: dataclasses.Field[Any]) -> dict[str, Any]:
    """Default of a field that holds a dataclass, as plain values; {} when it has none."""
    if nested.default_factory is not dataclasses.MISSING:
        return to_dict(nested.default_factory())
    return {} if nested.default is dataclasses.MISSING else to_dict(nested.default)


def _convert(value: Any, kind: Any) -> Any:
    """Convert one plain value to ``kind``, or raise ValueError."""
    origin = get_origin(kind)
    if kind is Any or (origin is Literal and value in get_args(kind)):
        return value
    if origin in (Union, types.UnionType):
        return _convert_union(value, get_args(kind))
    if origin is tuple and isinstance(value, list | tuple):
        inner = get_args(kind)
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        return tuple(_convert(v, k) for v, k in zip(value, kinds, strict=True))
    if origin is dict and isinstance(value, Mapping):
        return dict(value)
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        if not math.isfinite(value):
            raise ValueError
        return float(value)
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind in (int, str, bool) and type(value) is kind:
        return value
    raise ValueError


def _convert_union(value: Any, options: Sequence[Any]) -> Any:
    """Convert to the first of several kinds that takes the value; "" and None mean none, if that may be."""
    if type(None) in options and (value is None or (value == "" and str not in options)):
        return None
    for option in options:
        if option is type(None):
            continue
        try:
            return _convert(value, option)
        except (ValueError, TypeError):
            continue
    raise ValueError


def _say(kind: Any) -> str:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(_say(a) for a in get_args(kind) if a is not type(None))
    if origin is Literal:
        return "one of " + ", ".join(str(a) or '""' for a in get_args(kind))
    if origin is tuple:
        inner = get_args(kind)
        count = "" if inner[-1] is Ellipsis else f"{len(inner)} times "
        return f"a list of {count}{_say(inner[0])}"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(kind, getattr(kind, "__name__", str(kind)))


def to_dict(config: Any) -> dict[str, Any]:
    """Turn a config into nested plain values that TOML can hold; None is left out."""
    out: dict[str, Any] = {}
    for f in dataclasses.fields(config):
        value = getattr(config, f.name)
        if value is None:
            continue
        if dataclasses.is_dataclass(value):
            out[f.name] = to_dict(value)
        elif isinstance(value, Path):
            out[f.name] = str(value)
        elif isinstance(value, tuple):
            out[f.name] = list(value)
        else:
            out[f.name] = value
    return out


def to_toml(config: Any) -> str:
    """Turn a config into TOML, plain keys first; reading it back gives an equal config."""
    tree = to_dict(config)
    plain = {k: v for k, v in tree.items() if not isinstance(v, dict)}
    tables = {k: v for k, v in tree.items() if isinstance(v, dict)}
    return tomli_w.dumps({**plain, **tables})


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """Lines "key: old -> new" for every value in which two trees differ.

    Args:
        old: Nested plain values.
        new: Nested plain values.
        prefix: Dotted prefix for the keys.
    """
    lines: list[str] = []
    for key in sorted({*old, *new}):
        a, b = old.get(key), new.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            lines.extend(differences(a, b, f"{prefix}{key}."))
        elif a != b:
            lines.append(f"{prefix}{key}: {a!r} -> {b!r}")
    return lines


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: If it is missing or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"config file {path} does not exist") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise UsageError(f"config file {path} is not TOML", str(error)) from None


def read_preset(name: str, verb: str) -> dict[str, Any]:
    """Read the part of a preset that is meant for one verb.

    A preset is one TOML file with a table per verb, so that ``--preset tiny`` means the
    same scale everywhere.

    Raises:
        UsageError: If there is no such preset, or it has nothing for the verb.
    """
    folder = importlib.resources.files("xraytk.presets")
    names = sorted(p.name[:-5] for p in folder.iterdir() if p.name.endswith(".toml"))
    trees = {n: tomllib.loads((folder / f"{n}.toml").read_text(encoding="utf-8")) for n in names}
    fitting = [n for n in names if verb in trees[n]]
    if name not in fitting:
        there = ", ".join(fitting) or "none"
        raise UsageError(f"`{verb}` has no preset {name!r}", f"there are: {there}")
    return cast(dict[str, Any], trees[name][verb])


def merge(into: dict[str, Any], tree: Mapping[str, Any]) -> None:
    """Lay ``tree`` over ``into``, table by table."""
    for key, value in tree.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = dict(value) if isinstance(value, Mapping) else value


def resolve(target: str) -> Any:
    """Import ``package.module:Name``.

    Raises:
        UsageError: If the text has no colon, or there is no such module or name.
    """
    module, _, name = target.partition(":")
    if not name:
        raise UsageError(f"{target!r} is not of the form package.module:Name")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"cannot import {target}", str(error)) from None


def _verb_of(cls: type) -> str:
    name = cls.__name__.removesuffix("Config")
    return "".join(f"-{c.lower()}" if c.isupper() else c for c in name).lstrip("-")


def _parse_set(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UsageError(f"--set takes key=value, found {text!r}")
    try:
        parsed = tomllib.loads(f"x = {value}")["x"]
    except tomllib.TOMLDecodeError:
        parsed = value
    return key.strip(), parsed


def _nest(dotted: str, value: Any) -> dict[str, Any]:
    for part in reversed(dotted.split(".")):
        value = {part: value}
    return cast(dict[str, Any], value)
