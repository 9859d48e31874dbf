"""Attacks on ovlay, each a test with a row in docs/attacks.md."""
