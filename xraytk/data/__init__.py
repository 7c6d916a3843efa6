"""Nouns of the data: DICOM, de-identification, manifest, contours, shards, stream, text."""
