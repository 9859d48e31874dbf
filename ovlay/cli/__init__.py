"""The command line ``ovlay``: one verb, one file. Only the verb that was asked for is imported."""
