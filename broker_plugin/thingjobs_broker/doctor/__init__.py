"""What `thingjobs doctor` looks at: a table of checks on a running set-up, and how each is made.

It asks as clients and devices do, and looks at the disk. How findings are shown is the command line's.
"""
