"""Tests of the jobs service and its adapters."""
