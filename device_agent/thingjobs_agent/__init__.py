"""The device agent: runs job documents on a device and reports the true result. Imports thingjobs_protocol
only.
"""

VERSION = "0.1.0"
"""Said to the service at each start of a job; a constant, because looking it up costs more than a job."""
