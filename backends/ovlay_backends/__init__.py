"""The drivers that come with ovlay, one a file; each is an entry point in the group ``ovlay.backends``."""
