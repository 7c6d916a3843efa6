from __future__ import annotations

import numpy as np
import pytest

from xraytk.errors import DataError, UsageError
from xraytk.tasks.probe import ProbeConfig, Samples, budget, learnable, log_loss, mean_auroc, probe, votes

CONFIG = ProbeConfig()


def samples(n: int, seed: int, *, shift: float = 2.0) -> Samples:
    """Two labels that two directions of eight show; every patient has two images."""
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.integers(0, 2, (n // 2, 2)), 2, 0).astype(np.float64)
    x = rng.normal(size=(n, 8)).astype(np.float32)
    x[:, :2] += shift * truth.astype(np.float32)
    patients = tuple(f"{seed}-{i // 2}" for i in range(n))
    return Samples(tuple(f"{seed}-{i}" for i in range(n)), patients, x * 50 + 1000, truth)


@pytest.mark.parametrize("kind", ["linear-probe", "knn"])
@pytest.mark.parametrize("with_validation", [True, False])
def test_what_is_there_is_found_and_chosen_where_it_may_be(kind: str, with_validation: bool) -> None:
    train, tune, test = samples(120, 1), samples(60, 2), samples(80, 3)
    found = probe(kind, train, tune if with_validation else None, test.x, ["a", "b"], CONFIG)  # type: ignore[arg-type]
    assert mean_auroc(found.scores, test.truth) > 0.75
    assert ((found.scores >= 0) & (found.scores <= 1)).all()
    assert (found.tuned is not None) == with_validation
    noise = samples(120, 1, shift=0.0)
    nothing = probe(kind, noise, None, samples(200, 4, shift=0.0).x, ["a", "b"], CONFIG)  # type: ignore[arg-type]
    assert 0.3 < mean_auroc(nothing.scores, samples(200, 4).truth) < 0.7


def test_the_linear_probe_is_scikit_learns_on_standardised_features() -> None:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    train, test = samples(60, 1), samples(20, 2)
    one = ProbeConfig(strengths=(0.1,))
    found = probe("linear-probe", train, None, test.x, ["a", "b"], one)
    scaler = StandardScaler().fit(train.x)
    x, asked = (scaler.transform(part.x).astype(np.float64) for part in (train, test))
    model = LogisticRegression(C=0.1, max_iter=2000, tol=1e-10).fit(x, train.truth[:, 1])  # another solver
    wanted = model.predict_proba(asked)[:, 1]
    np.testing.assert_allclose(found.scores[:, 1], wanted, atol=1e-6)
    assert found.chosen == {"C": {"a": 0.1, "b": 0.1}}


def test_unknown_values_are_left_out_of_their_label_only() -> None:
    train, test = samples(80, 1), samples(40, 2)
    train.truth[::2, 0] = np.nan
    found = probe("linear-probe", train, None, test.x, ["a", "b"], ProbeConfig(strengths=(0.1,)))
    half = train.at(np.arange(1, 80, 2))
    whole = probe("linear-probe", samples(80, 1), None, test.x, ["a", "b"], ProbeConfig(strengths=(0.1,)))
    np.testing.assert_allclose(found.scores[:, 1], whole.scores[:, 1], atol=1e-9)
    assert not np.allclose(found.scores[:, 0], whole.scores[:, 0])
    assert learnable(half.truth).all()
    assert learnable(np.array([[1, 0, np.nan], [1, 1, 1], [0, 0, 0], [0, 1, np.nan]])).tolist() == [
        True,
        True,
        False,
    ]


def test_votes_by_hand() -> None:
    bank = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    truth = np.array([[1.0, np.nan], [0.0, np.nan], [0.0, 1.0]])
    train = Samples(("a", "b", "c"), ("p", "q", "r"), bank, truth)
    x = np.array([[1, 0]], np.float32)
    found = votes(bank, train, x, (1, 2, 3), 0.5)
    assert found[1][0].tolist() == [1.0, 1.0]  # b: no neighbour knows it, so the share of all stands
    near, far = 1.0, np.exp(-1 / 0.5)
    assert found[2][0, 0] == pytest.approx(near / (near + far))
    assert found[3][0, 1] == 1.0
    without = votes(bank, train, x, (1,), 0.5, leave=("p",))
    assert without[1][0, 0] == 0.0


def test_a_small_budget_lies_within_a_larger_one_and_takes_whole_patients() -> None:
    train = samples(200, 1)
    small, large = budget(train, 0.1, 7), budget(train, 0.5, 7)
    assert set(small.ids) < set(large.ids)
    assert (len(set(small.patients)), len(small.ids)) == (10, 20)
    assert budget(train, 1.0, 7) is train
    assert len(set(budget(train, 1e-9, 7).patients)) == 2


def test_log_loss_by_hand() -> None:
    found = log_loss(np.array([0.5, 0.8, 0.1]), np.array([1.0, 0.0, np.nan]))
    assert found == pytest.approx(-(np.log(0.5) + np.log(0.2)) / 2)


def test_wrong_settings_and_features_are_refused() -> None:
    for wrong, word in (
        ({"compare": ("best",)}, "random, pixels"),
        ({"budgets": (0.0,)}, "budgets"),
        ({"seeds": 0}, "seeds"),
        ({"strengths": ()}, "strengths"),
        ({"temperature": 0.0}, "temperature"),
    ):
        with pytest.raises(UsageError, match=word):
            ProbeConfig(**wrong)  # type: ignore[arg-type]
    train = samples(40, 1)
    train.x[0, 0] = np.nan
    with pytest.raises(DataError, match="not finite"):
        probe("knn", train, None, samples(4, 2).x, ["a", "b"], CONFIG)
