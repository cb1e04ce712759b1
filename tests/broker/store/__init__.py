"""Tests of the disk side of the service."""
