"""Single files: where one may go, what label it gets, and how it gets there whole."""
