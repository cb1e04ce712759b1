"""Every limit of the protocol, named with its unit and its source. Enforced when a request is decoded."""

from __future__ import annotations

from typing import Final

THING_NAME_PATTERN: Final = r"^[a-zA-Z0-9:_-]{1,128}\Z"
"""Spec: data plane 1.3."""

JOB_ID_PATTERN: Final = r"^[a-zA-Z0-9_-]{1,64}\Z"
"""Spec: data plane 1.3."""

PAYLOAD_BYTES_MAX: Final = 128 * 1024
"""Spec: data plane 9; the transport closes the connection of whoever sends more."""

JOB_DOCUMENT_CHARACTERS_MAX: Final = 32_768
JOB_DOCUMENT_BYTES_MAX: Final = 32_768
"""Spec: data plane 9, control plane 7.1: characters of one in a request, bytes of one that is fetched."""

STATUS_DETAILS_PAIRS_MAX: Final = 10
"""Spec: data plane 2.2, A13."""

STATUS_DETAILS_KEY_PATTERN: Final = r"^[a-zA-Z0-9:_-]{1,128}\Z"
"""Spec: data plane 2.2."""

STATUS_DETAILS_VALUE_CHARACTERS_MAX: Final = 1024
"""Spec: data plane 2.2, A13. The minimum is 1."""

TIMEOUT_MINUTES_MIN: Final = 1
TIMEOUT_MINUTES_MAX: Final = 10_080
"""Spec: data plane 6.1, 6.2; both timers: one minute to seven days."""

STEP_TIMEOUT_CANCEL: Final = -1
"""Spec: data plane 6.2; on UpdateJobExecution only."""

PENDING_JOBS_SHOWN_MAX: Final = 10
"""Spec: data plane 9, A4; entries in `notify` and in `get/accepted`."""

PENDING_JOBS_SHOWN_WINDOWED_MAX: Final = 15
"""Spec: data plane 9, A4; where a job with maintenance windows is among them."""

TARGETS_MAX: Final = 100
"""Spec: control plane 10; targets of one job."""

TEXT_CHARACTERS_MAX: Final = 2028
"""Spec: control plane 1.3; description and comment."""

PAGE_SIZE_DEFAULT: Final = 50
PAGE_SIZE_MAX: Final = 250
"""Spec: control plane 1.6."""
