"""What frozen features know of labels: a linear probe and nearest neighbours.

Pure functions on arrays, without torch: where features come from does not matter here. Labels are 0
or 1, NaN where unknown; an unknown value is left out of its label and of nothing else.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xraytk.errors import DataError, UsageError
from xraytk.tasks.metrics.labels import auroc

Kind = Literal["linear-probe", "knn"]
PROBES = ("linear-probe", "knn")
BASELINES = ("random", "pixels")
CHUNK = 1024
"""Rows whose similarities are in memory at a time."""
MOST_ITERATIONS = 100
Floats = NDArray[np.float64]
Single = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeConfig:
    """How frozen features are probed.

    Args:
        pool: "mean" of the patch tokens, "cls", or "both".
        compare: Baselines: "random" is the same encoder with fresh weights, "pixels" the image at
            32 x 32.
        seeds: Encoders with fresh weights; their scores are averaged.
        budgets: Shares of the training patients whose labels are used, in (0, 1].
        strengths: Inverse strengths (C) of the L2 penalty of the linear probe to choose from.
        neighbours: Numbers of neighbours (k) to choose from.
        temperature: Of the neighbours' weights, exp(similarity / temperature).
        folds: Parts of the training patients when there is no validation split to choose on.
        ema: Prefer the moving average of the weights, where the run made one.

    Source:
        Neighbours: DINO (Caron et al. 2021), section 4 and appendix; T = 0.07. Standardised features
        under the linear probe: MAE (He et al. 2022), appendix A.1, there by a batch norm.
    """

    pool: Literal["mean", "cls", "both"] = "mean"
    compare: tuple[str, ...] = ()
    seeds: int = 3
    budgets: tuple[float, ...] = (1.0,)
    strengths: tuple[float, ...] = (1e-4, 1e-3, 1e-2, 1e-1, 1.0, 10.0, 100.0)
    neighbours: tuple[int, ...] = (5, 10, 20, 50, 100, 200)
    temperature: float = 0.07
    folds: int = 5
    ema: bool = True

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            UsageError: If a value is out of range.
        """
        if unknown := sorted(set(self.compare) - set(BASELINES)):
            raise UsageError(
                f"probe.compare holds {', '.join(unknown)}", f"there are: {', '.join(BASELINES)}"
            )
        if not self.budgets or not all(0 < share <= 1 for share in self.budgets):
            raise UsageError(f"probe.budgets is {list(self.budgets)}", "wanted shares above 0 and up to 1")
        for name, least in (("seeds", 1), ("folds", 2)):
            if getattr(self, name) < least:
                raise UsageError(f"probe.{name} is {getattr(self, name)}", f"wanted at least {least}")
        for name in ("strengths", "neighbours"):
            values = getattr(self, name)
            if not values or min(values) <= 0:
                raise UsageError(f"probe.{name} is {list(values)}", "wanted numbers above 0")
        if self.temperature <= 0:
            raise UsageError(f"probe.temperature is {self.temperature}", "wanted more than 0")


@dataclass(frozen=True, slots=True)
class Samples:
    """Features and labels of n images.

    Args:
        ids: Images.
        patients: Theirs.
        x: (n, D) float32.
        truth: (n, C), 0 or 1, NaN where unknown.
    """

    ids: tuple[str, ...]
    patients: tuple[str, ...]
    x: Single
    truth: Floats

    def at(self, rows: NDArray[np.int64]) -> Samples:
        """Some of the images."""
        return Samples(
            tuple(self.ids[i] for i in rows),
            tuple(self.patients[i] for i in rows),
            self.x[rows],
            self.truth[rows],
        )


@dataclass(frozen=True, slots=True)
class Probed:
    """Predictions of a probe.

    Args:
        scores: (n, C) probabilities of the images that were asked for.
        tuned: (m, C) of the validation images; None without.
        chosen: What was chosen: C of each label, or k.
        notes: What a reader has to know.
    """

    scores: Floats
    tuned: Floats | None
    chosen: dict[str, Any]
    notes: tuple[str, ...] = field(default=())


def learnable(truth: Floats) -> NDArray[np.bool_]:
    """Labels of which both values are known at least twice, (C,) bool."""
    return np.asarray((np.nansum(truth, 0) >= 2) & (np.nansum(1 - truth, 0) >= 2))


def budget(train: Samples, share: float, seed: int) -> Samples:
    """The images of a share of the patients; of the same seed a smaller share lies within a larger.

    Args:
        train: All.
        share: In (0, 1]; at least two patients are taken.
        seed: Of the draw.
    """
    if share >= 1:
        return train
    drawn = drawn_patients(train.patients, share, seed)
    return train.at(np.flatnonzero([patient in drawn for patient in train.patients]))


def drawn_patients(patients: Collection[str], share: float, seed: int) -> frozenset[str]:
    """A share of the patients; of the same seed a smaller share lies within a larger.

    Args:
        patients: Theirs, of every image.
        share: In (0, 1]; at least two patients are taken.
        seed: Of the draw.
    """
    names = np.unique(np.asarray(list(patients), np.str_))
    if share >= 1:
        return frozenset(names.tolist())
    order = np.random.default_rng(seed).permutation(names)
    return frozenset(order[: max(2, round(share * len(names)))].tolist())


def probe(
    kind: Kind,
    train: Samples,
    tune: Samples | None,
    asked: Single,
    labels: Sequence[str],
    config: ProbeConfig,
) -> Probed:
    """Fit a probe and predict.

    Features are standardised with mean and spread of the training images. What has to be chosen is
    chosen on ``tune``, or over parts of the training patients; the probe itself sees training images
    only.

    Args:
        kind: Which.
        train: Training images; every label has both values, see `learnable`.
        tune: Validation images; None to choose within the training images.
        asked: (n, D) features of the images to predict.
        labels: The C names.
        config: How.

    Raises:
        DataError: If features are not finite.
    """
    from sklearn.preprocessing import StandardScaler

    for x in (train.x, asked):
        if not np.isfinite(x).all():
            raise DataError("the encoder gives features that are not finite numbers", todo="Use another one.")
    scaler = StandardScaler().fit(train.x)
    near = replace(train, x=scaler.transform(train.x))
    far = None if tune is None else replace(tune, x=scaler.transform(tune.x))
    run = _linear if kind == "linear-probe" else _neighbours
    return run(near, far, scaler.transform(asked), labels, config)


def _linear(
    train: Samples, tune: Samples | None, asked: Single, labels: Sequence[str], config: ProbeConfig
) -> Probed:
    """Logistic regression with an L2 penalty, one a label, its strength by the log loss."""
    scores = np.empty((len(asked), len(labels)))
    tuned = None if tune is None else np.empty((len(tune.x), len(labels)))
    chosen: dict[str, Any] = {}
    stopped = 0
    for c, label in enumerate(labels):
        known = np.flatnonzero(~np.isnan(train.truth[:, c]))
        some, truth = train.at(known), train.truth[known, c]
        folds = _folds(some, config.folds) if tune is None or not _both(tune.truth[:, c]) else None
        best, losses = None, []
        for strength in sorted(config.strengths):
            if folds is None and tune is not None:
                model, slow = _fit(some.x, truth, strength)
                losses.append(log_loss(_chance(model, tune.x), tune.truth[:, c]))
                stopped += slow
                if best is None or losses[-1] < min(losses[:-1]):
                    best = strength, model
            else:
                losses.append(_loss_over(folds or [], some.x, truth, strength))
        if best is None:
            strength = sorted(config.strengths)[int(np.argmin(losses))]
            model, slow = _fit(some.x, truth, strength)
            best, stopped = (strength, model), stopped + slow
        scores[:, c] = _chance(best[1], asked)
        if tuned is not None and tune is not None:
            tuned[:, c] = _chance(best[1], tune.x)
        chosen[label] = best[0]
    notes = (f"{stopped} fits ended at {MOST_ITERATIONS} iterations",) if stopped else ()
    return Probed(scores, tuned, {"C": chosen}, notes)


def _fit(x: Single, truth: Floats, strength: float) -> tuple[Any, bool]:
    """A fitted model, and whether it ended before it converged."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ConvergenceWarning)
        model = LogisticRegression(C=strength, solver="newton-cholesky", tol=1e-8, max_iter=MOST_ITERATIONS)
        model.fit(x.astype(np.float64), truth.astype(np.int64))
    return model, any(issubclass(one.category, ConvergenceWarning) for one in said)


def _chance(model: Any, x: Single) -> Floats:
    return np.asarray(model.predict_proba(x.astype(np.float64))[:, 1])


def _loss_over(
    folds: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], x: Single, truth: Floats, strength: float
) -> float:
    """Mean log loss of images that were left out, over folds whose others have both values."""
    losses = [
        log_loss(_chance(_fit(x[others], truth[others], strength)[0], x[out]), truth[out])
        for others, out in folds
        if _both(truth[others])
    ]
    return float(np.mean(losses)) if losses else np.inf


def _folds(train: Samples, count: int) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Rows to fit on and rows left out, whole patients each."""
    from sklearn.model_selection import GroupKFold

    patients = len(set(train.patients))
    if patients < 2:
        return []
    return list(GroupKFold(min(count, patients)).split(train.x, groups=train.patients))


def _both(truth: Floats) -> bool:
    """Whether both values are there."""
    return bool((truth == 0).any() and (truth == 1).any())


def log_loss(chance: Floats, truth: Floats) -> float:
    """Mean negative log-likelihood of known labels.

    Args:
        chance: (n,) probabilities.
        truth: (n,) 0 or 1, NaN where unknown.
    """
    known = ~np.isnan(truth)
    right = np.where(truth == 1, chance, 1 - chance)[known]
    return float(-np.log(np.clip(right, 1e-12, 1)).mean())


def _neighbours(
    train: Samples, tune: Samples | None, asked: Single, labels: Sequence[str], config: ProbeConfig
) -> Probed:
    """Weighted vote of the nearest training images by cosine, k by the mean AUROC."""
    sizes = sorted({min(k, len(train.x)) for k in config.neighbours})
    bank = _unit(train.x)

    def vote(x: Single, of: Sequence[str] | None = None) -> dict[int, Floats]:
        return votes(bank, train, _unit(x), sizes, config.temperature, leave=of)

    tuned = None if tune is None else vote(tune.x)
    if tune is not None and tuned is not None and any(_both(column) for column in tune.truth.T):
        found, truth = tuned, tune.truth
    else:
        found, truth = vote(train.x, train.patients), train.truth
    values = [mean_auroc(found[k], truth) for k in sizes]
    k = sizes[int(np.nanargmax(values))] if not np.isnan(values).all() else sizes[len(sizes) // 2]
    return Probed(vote(asked)[k], None if tuned is None else tuned[k], {"k": k})


def votes(
    bank: Single,
    train: Samples,
    x: Single,
    sizes: Sequence[int],
    temperature: float,
    leave: Sequence[str] | None = None,
) -> dict[int, Floats]:
    """Weighted share of each label among the nearest training images.

    Args:
        bank: (n, D) training features of length one.
        train: Their labels and patients.
        x: (m, D) of length one.
        sizes: Numbers of neighbours.
        temperature: A neighbour weighs exp(similarity / temperature).
        leave: The m patients of ``x``, whose own training images do not vote; None to let all vote.

    Returns:
        For each size (m, C) in [0, 1]; a neighbour votes for the labels it knows, and without any
        the share among all training images stands.
    """
    known = ~np.isnan(train.truth)
    yes, rate = np.nan_to_num(train.truth), np.nanmean(train.truth, 0)
    own = np.asarray(train.patients, np.str_)
    out = {k: np.empty((len(x), yes.shape[1])) for k in sizes}
    for at in range(0, len(x), CHUNK):
        near = (x[at : at + CHUNK] @ bank.T).astype(np.float64)
        if leave is not None:
            near[np.asarray(leave[at : at + CHUNK], np.str_)[:, None] == own[None]] = -np.inf
        order = np.argsort(-near, axis=1, kind="stable")[:, : max(sizes)]
        closest = np.take_along_axis(near, order, 1)
        weight = np.exp((closest - closest[:, :1]) / temperature)
        weight[~np.isfinite(closest)] = 0.0
        said = np.cumsum(weight[:, :, None] * yes[order], 1)
        whole = np.cumsum(weight[:, :, None] * known[order], 1)
        for k in sizes:
            heard = whole[:, k - 1] > 0
            share = np.divide(said[:, k - 1], whole[:, k - 1], where=heard, out=np.zeros_like(said[:, 0]))
            out[k][at : at + CHUNK] = np.where(heard, share, rate)
    return out


def mean_auroc(scores: Floats, truth: Floats) -> float:
    """Mean AUROC over the labels with both values; NaN without any."""
    every = np.ones((1, len(scores)))
    found = [auroc(scores[:, c], truth[:, c])(every)[0] for c in range(truth.shape[1])]
    there = [value for value in found if not np.isnan(value)]
    return float(np.mean(there)) if there else np.nan


def _unit(x: Single) -> Single:
    length: Callable[..., Any] = np.linalg.norm
    return np.asarray(x / np.maximum(length(x, axis=1, keepdims=True), 1e-12), np.float32)
