"""What finetuning serves, and the table of tasks.

A task is a Learner that can also ``predict(batch)``, ``describe()`` itself for its folder,
and be built again from that. An outsider's task needs no entry here: any text of the form
"package.module:Class" does.
"""

from __future__ import annotations

TASKS = {
    "report": "xraytk.tasks.reporting:ReportTask",
    "classify": "xraytk.tasks.classification:ClassifyTask",
    "segment": "xraytk.tasks.segmentation:SegmentTask",
    "detect": "xraytk.tasks.detection:DetectTask",
    "vqa": "xraytk.tasks.answering:VqaTask",
}
