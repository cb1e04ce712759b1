"""Where `thingjobs` begins: with the command line, or with what is missing where there is the agent alone."""

import sys

from thingjobs_broker.cli.exit_codes import ExitCode


def run() -> None:
    """Run the command line; does not return."""
    try:
        # The installation for devices has the command, but not its libraries.
        from thingjobs_broker.cli import main
    except KeyboardInterrupt:
        # Loading takes long enough for somebody to think better of it.
        sys.exit(ExitCode.INTERRUPTED)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("thingjobs"):
            raise
        print(  # noqa: T201
            f"thingjobs: the library {error.name} is missing; install thingjobs[broker], not thingjobs alone",
            file=sys.stderr,
        )
        sys.exit(ExitCode.LOCAL_FILE)
    main.run()
