"""Finetuned question answering, on images it never saw."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from xraytk.errors import DataError
from xraytk.evaluate import files, workspace
from xraytk.evaluate.results import RunScores
from xraytk.evaluate.settings import EvaluateConfig
from xraytk.progress import Progress
from xraytk.tasks import saved
from xraytk.tasks.answering import Answered, VqaTask
from xraytk.tasks.language.questions import answer_panel, as_row, guess, read_questions
from xraytk.tasks.scoring import grid, pages, plots
from xraytk.tasks.scoring.scored import Scored, fingerprinted, hash_of


def score(
    config: EvaluateConfig,
    folder: Path,
    out: Path,
    model: saved.Saved,
    shards: str | Path,
    progress: Progress,
    said: Sequence[str],
) -> RunScores:
    """Answer and score the questions about a split, open and closed ones apart.

    Raises:
        DataError: If there are no questions, or none about the split.
    """
    task: VqaTask = model.learner
    path = config.questions or Path(str(model.facts.get("questions", "")))
    if not path.is_file():
        raise DataError(
            f"the questions of {folder} are not where they were", todo="Give them with --set questions=FILE."
        )
    task.ask(read_questions(path))
    answered: list[Answered] = []
    for batch in workspace.batches(config, model, shards, progress, f"evaluate {folder.name}"):
        answered += task.predict(batch)
    if not answered:
        raise DataError(f"{path.name} asks nothing about an image of the {config.split} split")
    questions, given = [one.question for one in answered], [one.answer for one in answered]
    frequent = model.facts.get("most_frequent", {})
    panel = answer_panel(questions, given, task.answers, frequent)
    people = [one.patient_hash for one in answered]
    scores = panel.values(people, resamples=config.bootstrap, seed=config.seed)
    ids = sorted({question.image_id for question in questions})
    protocol = fingerprinted(
        {
            "task": "vqa",
            "answers": len(task.answers),
            "right": "equal to the answer in lower case, without a point at its end",
            "most_frequent": "of the training answers to the same question, else to its kind",
            "questions": len(questions),
            "truth_sha256": hash_of((q.image_id, q.lang, q.question, q.answer) for q in questions),
            "patients": len(set(people)),
            **workspace.protocol_of(config, model, ids),
        }
    )
    rows = tuple(
        {**as_row(one.question, one.answer, one.chance), "guess": guess(one.question, frequent)}
        for one in answered
    )
    notes = (
        f"{len(questions):,} questions about {len(ids):,} images; counts of the table are of questions",
        *said,
    )
    scored = Scored("vqa", len(ids), len(set(people)), {"answers": scores}, protocol, {}, notes, rows=rows)
    tree = {
        "scores": files.plain(scores),
        **workspace.tree_of({"": scored}, protocol),
        "notes": list(notes),
    }
    suffix = workspace.suffix_of(config)
    paths = files.write_run(out, folder.name, tree, rows, grid.grids_of(scored), suffix)
    figures = {"accuracy": plots.bars(plots.column(scores, "accuracy"), "accuracy")}
    paths += files.write_figures(out / "figures", figures, suffix)
    paths.append(out / f"page{suffix}.html")
    files.write_text(paths[-1], pages.of_scores(f"{folder.name}, {config.split} split", scored, figures))
    return RunScores(folder, "vqa", len(ids), scores, protocol, tuple(paths), {}, notes)
