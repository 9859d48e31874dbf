"""What differs from the base, and how that is known."""
