"""How the settings of a job or template are shown: in the short forms that the options take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from thingjobs_broker.cli.output import printable, span

if TYPE_CHECKING:
    from collections.abc import Mapping


def settings_of(found: Mapping[str, Any]) -> dict[str, str]:
    """Return what is set of a job or template, by what it is about; an empty text where nothing is."""
    minutes = found.get("timeoutConfig", {}).get("inProgressTimeoutInMinutes")
    aborts = found.get("abortConfig", {}).get("criteriaList", ())
    retries = found.get("jobExecutionsRetryConfig", {}).get("criteriaList", ())
    shown = {
        "rate": _rate(found.get("jobExecutionsRolloutConfig", {})),
        "abort": ", ".join(_abort(each) for each in aborts),
        "timeout": f"{minutes} min" if minutes else "",
        "retries": ", ".join(f"{each['failureType']}={each['numberOfRetries']}" for each in retries),
        **_schedule(found.get("schedulingConfig", {}) | _windows_of_template(found)),
        "namespace": found.get("namespaceId", ""),
        "template": found.get("jobTemplateArn", ""),
        "parameters": " ".join(
            f"{key}={value}" for key, value in found.get("documentParameters", {}).items()
        ),
        "packages": ", ".join(found.get("destinationPackageVersions", ())),
    }
    return {name: printable(text) for name, text in shown.items()}


def _rate(config: Mapping[str, Any]) -> str:
    maximum = config.get("maximumPerMinute")
    exponential = config.get("exponentialRate")
    if exponential is None:
        return f"{maximum}/min" if maximum else ""
    criteria = exponential["rateIncreaseCriteria"]
    thresholds = [
        f"{kind}={criteria[member]}"
        for kind, member in (
            ("notified", "numberOfNotifiedThings"),
            ("succeeded", "numberOfSucceededThings"),
        )
        if member in criteria
    ]
    base, factor = exponential["baseRatePerMinute"], exponential["incrementFactor"]
    shown = ",".join([str(base), f"{factor:g}", *thresholds])
    return f"{shown}, at most {maximum}/min" if maximum else shown


def _abort(criterion: Mapping[str, Any]) -> str:
    percentage, count = criterion["thresholdPercentage"], criterion["minNumberOfExecutedThings"]
    return f"{criterion['failureType']}>{percentage:g}% after {count}"


def _schedule(config: Mapping[str, Any]) -> dict[str, str]:
    end = config.get("endTime", "")
    behavior = config.get("endBehavior", "").lower().replace("_", "-")
    windows = [
        f"{window['startTime']} for {span(60 * window['durationInMinutes'])}"
        for window in config.get("maintenanceWindows", ())
    ]
    return {
        "start": config.get("startTime", ""),
        "end": f"{end}, {behavior}" if end and behavior else end,
        "windows": ", ".join(windows),
    }


def _windows_of_template(found: Mapping[str, Any]) -> dict[str, Any]:
    """A template has its windows outside a schedule."""
    windows = found.get("maintenanceWindows")
    return {"maintenanceWindows": windows} if windows else {}
