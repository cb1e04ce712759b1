"""The operator's command line, `thingjobs`: a client of the control plane, and `up` to run the service."""
