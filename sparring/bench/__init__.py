"""Throughput versus textbook training loops, side by side on one machine: `sparring bench`."""
