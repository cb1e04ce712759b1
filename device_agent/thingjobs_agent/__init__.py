"""The device agent: runs job documents on a device and reports the true result. Imports thingjobs_protocol
only.
"""
