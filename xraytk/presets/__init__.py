"""Presets: one TOML file a scale, with a table per verb."""
