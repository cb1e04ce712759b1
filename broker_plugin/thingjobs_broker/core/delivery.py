"""The job document as a device gets it, with presigned URLs made for this delivery (control plane 7.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from thingjobs_broker.core import placeholders

if TYPE_CHECKING:
    from thingjobs_broker.core.entities import Execution, Job
    from thingjobs_broker.core.ports import Ports


def document(ports: Ports, job: Job, execution: Execution) -> msgspec.Raw:
    """Return the document as the JSON object that devices get (client-quirks)."""
    # Only what stands in for moto has jobs without a document (control plane 11.2).
    text = job.document or "{}"
    if ports.signer is not None and placeholders.PREFIX in text:
        given = job.options.get("presignedUrlConfig")
        config = msgspec.convert(given, placeholders.PresignedUrlConfig) if given else None
        recipient = placeholders.Recipient(execution.thing_name, execution.job_id, execution.execution_number)
        text = placeholders.at_delivery(text, config, recipient, ports.signer)
    return msgspec.Raw(text.encode())
