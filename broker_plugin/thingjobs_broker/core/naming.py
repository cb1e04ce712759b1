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

    def template_arn(self, template_id: str) -> str:
        """Return the ARN of a custom job template."""
        return self.arn("jobtemplate", template_id)

    def name_in(self, kind: str, arn: str) -> str | None:
        """Return the name in an ARN of that kind, None for any other."""
        prefix = self.arn(kind, "")
        return arn.removeprefix(prefix) if arn.startswith(prefix) else None

    def group_arn(self, group_name: str) -> str:
        """Return the ARN of a thing group."""
        return self.arn("thinggroup", group_name)

    def group_name(self, target: str) -> str | None:
        """Return the thing group that a target names, by ARN or by name; None for an ARN of anything else."""
        if not target.startswith("arn:"):
            return target
        prefix = self.group_arn("")
        return target.removeprefix(prefix) if target.startswith(prefix) else None

    def type_arn(self, thing_type_name: str) -> str:
        """Return the ARN of a thing type."""
        return self.arn("thingtype", thing_type_name)


def group_of(target_arn: str) -> str | None:
    """Return the name in the ARN of a thing group, None for a thing's."""
    before, _, name = target_arn.rpartition("/")
    return name if before.endswith(":thinggroup") else None


def thing_of(target_arn: str) -> str | None:
    """Return the name in the ARN of a thing, None for a group's."""
    before, _, name = target_arn.rpartition("/")
    return name if before.endswith(":thing") else None
