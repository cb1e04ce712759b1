"""Tests of the protocol both sides speak."""
