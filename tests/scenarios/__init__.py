"""Transcripts of the core: commands, and every message that follows."""
