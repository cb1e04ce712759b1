"""Names to ARNs and back, and the topic root: what a deployment chooses once (spec: control plane 1.8)."""

from __future__ import annotations

import msgspec

from thingjobs_protocol.topics import DEFAULT_ROOT


class Naming(msgspec.Struct, frozen=True):
    """The deployment's region, account and topic root."""

    region: str = "local"
    account: str = "000000000000"
    topic_root: str = DEFAULT_ROOT

    def arn(self, kind: str, name: str) -> str:
        """Return `arn:aws:iot:{region}:{account}:{kind}/{name}`."""
        return f"arn:aws:iot:{self.region}:{self.account}:{kind}/{name}"

    def thing_arn(self, thing_name: str) -> str:
        """Return the ARN of a thing."""
        return self.arn("thing", thing_name)

    def job_arn(self, job_id: str) -> str:
        """Return the ARN of a job."""
        return self.arn("job", job_id)

    def thing_name(self, target: str) -> str | None:
        """Return the thing that a target names, by ARN or by name; None for an ARN of anything else."""
        if not target.startswith("arn:"):
            return target
        prefix = self.thing_arn("")
        return target.removeprefix(prefix) if target.startswith(prefix) else None
