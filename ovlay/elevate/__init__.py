"""One password prompt for a whole plan: what a user confirmed, carried out by a helper that runs as root."""
