"""One paper, one file: networks, players and a `round`."""
