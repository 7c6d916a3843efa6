#!/usr/bin/env bash
# A folder of public PNG/JPEG radiographs walks the whole road, as DICOM like a hospital's own files.
#
#   examples/public_pictures.sh PICTURES ABOUT.csv LABELS.csv WORK [STEPS]
#
# ABOUT.csv: file, patient, view, sex, age (for wrap). LABELS.csv: file, and a column a label or a
# column "labels" like "Edema|Effusion". STEPS: optimizer steps of each training; the preset's if not given.
set -euo pipefail
pictures=$1 about=$2 labels=$3 work=$4
steps=(${5:+--steps "$5"})
export XRAYTK_WORK=$work

xraytk wrap "$pictures" "$work/dicoms" --metadata "$about"
xraytk ingest "$work/dicoms" --labels "$labels"
xraytk mask
xraytk shard
xraytk pretrain --preset tiny "${steps[@]}"
xraytk finetune classify --preset tiny "${steps[@]}"
xraytk evaluate
echo "look at $work/masks/contact-sheet.png and $work/runs/pretrain/figures"
