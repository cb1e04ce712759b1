"""Tests of the device agent; the tree mirrors device_agent/thingjobs_agent."""
