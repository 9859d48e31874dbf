"""Manifests: what is to be in the overlay, declared; and what follows from it."""
