"""`python -m thingjobs_agent`."""

from thingjobs_agent.cli import run

run()
