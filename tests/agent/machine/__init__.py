"""Tests of the rules of the agent, mostly as transcripts of whole jobs."""
