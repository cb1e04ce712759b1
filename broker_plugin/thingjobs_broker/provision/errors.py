"""What making credentials can end with.

ProvisionError
  NameRefused
"""

from __future__ import annotations


class ProvisionError(Exception):
    """It cannot be made; nothing was overwritten. The message says why and what to do."""


class NameRefused(ProvisionError):
    """A device, operator or host cannot be called that."""
