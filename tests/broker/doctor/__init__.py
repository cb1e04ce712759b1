"""Tests of what `thingjobs doctor` looks at."""
