"""Tests of the pure core: no clock, no disk, no network, no waiting."""
