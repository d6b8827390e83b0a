"""Games small enough to be shown in class and checked against a formula."""
