"""Speed against the loops of the lectures, in one run on one machine: `sparring bench`."""
