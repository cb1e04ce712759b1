"""The tests of thingjobs; their folders mirror the packages."""
