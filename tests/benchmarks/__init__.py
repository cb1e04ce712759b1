"""Benchmarks: `make bench`. They want a quiet machine and are not part of the tests."""
