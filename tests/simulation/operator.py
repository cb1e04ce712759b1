"""An operator with a nervous hand: makes, changes, cancels and deletes jobs, things and groups."""

import json
from typing import Any

from tests.simulation import schedules
from tests.simulation.client import Client
from tests.simulation.registry import GROUPS, PARENTS, Asking, Registry
from tests.simulation.schedule import Schedule
from thingjobs_protocol.topics import control_topic

CLIENT_ID = "op"
PAUSE_SECONDS = (1.0, 60.0)
ANSWER_SECONDS_MAX = 5.0
JOBS_MAX = 7


class Operator:
    """One operator. Stops when `is_quiet`."""

    def __init__(self, schedule: Schedule, client: Client, things: list[str], extra: list[str]) -> None:
        self.client = client
        self.is_quiet = False
        self.job_ids: list[str] = []
        self._schedule = schedule
        self._things = things
        self._extra = extra
        self._numbers = 0
        self._registry = Registry(schedule, self.ask, things)
        client.connected = self._connected
        client.heard = self._heard
        self._has_begun = False
        self._wanted: list[Asking] = []
        """What is still to be made before the first job."""
        self._awaited = ""
        """The token of the request that is being answered."""

    def switch_on(self) -> None:
        self.client.switch_on()

    def _connected(self) -> None:
        if not self._has_begun:
            self._has_begun = True
            self._wanted = self._registry.beginning()
            self._make_next()

    def _make_next(self) -> None:
        """Ask for the next of what a world begins with, again and again until it is answered."""
        if self._wanted:
            operation, members = self._wanted[0]
            self.ask(operation, **members)
            self._awaited = token = f"op-{self._numbers}"
            self._schedule.after(ANSWER_SECONDS_MAX, lambda: self._ask_again(token))
        elif not self.is_quiet:
            self._create_job()
            self._act_later()

    def _ask_again(self, token: str) -> None:
        if self._awaited == token:
            self._make_next()

    def _heard(self, _topic: str, payload: bytes) -> None:
        """An answer; only those at the beginning matter, because the world tells what came of the others."""
        if self._awaited and json.loads(payload).get("clientToken") == self._awaited:
            self._awaited = ""
            del self._wanted[0]
            self._make_next()

    def ask(self, operation: str, **members: Any) -> None:
        """Send a request."""
        self._numbers += 1
        body = {**members, "clientToken": f"op-{self._numbers}"}
        self.client.publish(control_topic(CLIENT_ID, operation), json.dumps(body).encode())

    def _act_later(self) -> None:
        self._schedule.after(self._schedule.seconds(*PAUSE_SECONDS), self._act)

    def _act(self) -> None:
        if self.is_quiet:
            return
        acts = [
            *[self._create_job] * 4,
            *[self._cancel_execution] * 2,
            *[self._registry.act] * 5,
            *(self._cancel_job, self._delete_job, self._delete_execution, self._update_job, self._look),
            self._associate,
        ]
        self._schedule.random.choice(acts)()
        self._act_later()

    # Jobs

    def _create_job(self) -> None:
        random, chance = self._schedule.random, self._schedule.chance
        if len(self.job_ids) >= JOBS_MAX and not chance(0.1):
            return
        # Now and then an id that exists, or did.
        fresh = f"J{len(self.job_ids) + 1}"
        job_id = random.choice(self.job_ids) if self.job_ids and chance(0.15) else fresh
        if job_id not in self.job_ids:
            self.job_ids.append(job_id)
        targets = self._targets()
        members: dict[str, Any] = {"targets": targets, "document": json.dumps(self._document())}
        is_continuous = chance(0.2 if set(targets) <= {*self._things} else 0.6)
        if is_continuous:
            members["targetSelection"] = "CONTINUOUS"
        members |= schedules.drawn(self._schedule, is_continuous=is_continuous)
        self.ask("CreateJob", jobId=job_id, **members, **self._options())

    def _targets(self) -> list[str]:
        """Things, groups, or some of both."""
        random, chance = self._schedule.random, self._schedule.chance
        things = random.sample(self._things, random.randint(1, len(self._things)))
        if chance(0.5):
            return things
        groups = random.sample(GROUPS, random.randint(1, 2))
        return things[:2] + groups if chance(0.2) else groups

    def _options(self) -> dict[str, Any]:
        random, chance = self._schedule.random, self._schedule.chance
        members: dict[str, Any] = {}
        if chance(0.5):
            members["jobExecutionsRolloutConfig"] = self._rollout()
        if chance(0.3):
            members["abortConfig"] = {"criteriaList": [self._abort()]}
        if chance(0.6):
            members["timeoutConfig"] = {"inProgressTimeoutInMinutes": random.randint(1, 4)}
            if chance(0.6):
                members["jobExecutionsRetryConfig"] = {"criteriaList": self._retries()}
        elif chance(0.4):
            retry = {"failureType": "FAILED", "numberOfRetries": random.randint(1, 3)}
            members["jobExecutionsRetryConfig"] = {"criteriaList": [retry]}
        return members

    def _document(self) -> dict[str, Any]:
        random = self._schedule.random
        steps = [
            {"action": {"name": f"s{number}", "type": "runHandler", "input": {"handler": "work.sh"}}}
            for number in range(random.choice([1, 1, 2, 3]))
        ]
        if random.random() < 0.15:
            steps.append({"action": {"name": "Reboot", "type": "reboot"}})
        document: dict[str, Any] = {"version": "1.0", "steps": steps}
        if random.random() < 0.5:
            document["onRestart"] = random.choice(["fail", "restart", "resume"])
        return document

    def _rollout(self) -> dict[str, Any]:
        random = self._schedule.random
        if random.random() < 0.5:
            return {"maximumPerMinute": random.randint(1, 4)}
        criteria = {
            random.choice(["numberOfNotifiedThings", "numberOfSucceededThings"]): random.randint(1, 3)
        }
        rate = {"baseRatePerMinute": 1, "incrementFactor": 2, "rateIncreaseCriteria": criteria}
        return {"maximumPerMinute": random.randint(2, 10), "exponentialRate": rate}

    def _abort(self) -> dict[str, Any]:
        random = self._schedule.random
        return {
            "action": "CANCEL",
            "failureType": random.choice(["FAILED", "REJECTED", "TIMED_OUT", "ALL"]),
            "minNumberOfExecutedThings": random.randint(1, 4),
            "thresholdPercentage": random.choice([25, 50, 80.5]),
        }

    def _retries(self) -> list[dict[str, Any]]:
        random = self._schedule.random
        if random.random() < 0.5:
            return [{"failureType": "ALL", "numberOfRetries": random.randint(1, 3)}]
        return [
            {"failureType": failure_type, "numberOfRetries": random.randint(0, 2)}
            for failure_type in ("FAILED", "TIMED_OUT")
        ]

    def _some_job(self) -> str:
        return self._schedule.random.choice(self.job_ids or ["J1"])

    def _cancel_job(self) -> None:
        self.ask("CancelJob", jobId=self._some_job(), force=self._schedule.chance(0.5))

    def _delete_job(self) -> None:
        self.ask("DeleteJob", jobId=self._some_job(), force=self._schedule.chance(0.6))

    def _cancel_execution(self) -> None:
        members: dict[str, Any] = {"force": self._schedule.chance(0.5)}
        if self._schedule.chance(0.3):
            members["expectedVersion"] = self._schedule.random.randint(1, 3)
        thing = self._schedule.random.choice(self._things)
        self.ask("CancelJobExecution", jobId=self._some_job(), thingName=thing, **members)

    def _delete_execution(self) -> None:
        random = self._schedule.random
        self.ask(
            "DeleteJobExecution",
            jobId=self._some_job(),
            thingName=random.choice(self._things),
            executionNumber=random.randint(1, 2),
            force=random.random() < 0.5,
        )

    def _update_job(self) -> None:
        timeout = {"inProgressTimeoutInMinutes": self._schedule.random.randint(1, 5)}
        self.ask("UpdateJob", jobId=self._some_job(), timeoutConfig=timeout)

    def _associate(self) -> None:
        group = self._schedule.random.choice([*PARENTS])
        self.ask("AssociateTargetsWithJob", jobId=self._some_job(), targets=[group])

    def _look(self) -> None:
        self.ask("DescribeJob", jobId=self._some_job())
        self.ask("ListJobExecutionsForJob", jobId=self._some_job())
        if self._extra:
            self.ask("CreateThing", thingName=self._extra.pop())
