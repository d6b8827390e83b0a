"""Games small enough to be checked against a formula."""
