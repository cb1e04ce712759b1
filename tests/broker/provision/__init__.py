"""Tests of what `thingjobs init` makes."""
