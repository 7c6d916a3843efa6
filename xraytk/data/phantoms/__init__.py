"""Phantoms: anatomy, bones and lesions as line integrals, and the words that describe them."""
