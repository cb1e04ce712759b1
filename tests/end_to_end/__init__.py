"""The programs as people run them: real processes, real sockets, real disks."""
