"""What the commands of the command line do, one module for each kind; `cli` reads the arguments.

A command is a function of the parsed options that prints and returns an exit code; it raises AgentError for
what stands in its way.
"""
