"""Nouns of the models: vision transformer, report decoder and tokenizers, weights."""
