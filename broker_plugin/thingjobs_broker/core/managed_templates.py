"""The eight managed job templates: what they ask for, and the documents they make (spec: control plane 7.4).

Storing and listing custom templates is not decided here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from thingjobs_broker.core.errors import InvalidRequestError
from thingjobs_protocol.codec import is_plain_text

VERSION: Final = "1.0"
ENVIRONMENTS: Final = ("LINUX",)
VALUE_CHARACTERS_MAX: Final = 30_720
"""Spec: control plane 1.3, documentParameters."""


class Parameter(msgspec.Struct, frozen=True):
    """One parameter of a template, as DescribeManagedJobTemplate shows it."""

    key: str
    description: str
    regex: str
    example: str
    optional: bool


class ManagedTemplate(msgspec.Struct, frozen=True):
    """One managed template. Its document holds `${aws:iot:parameter:KEY}` where values belong."""

    template_name: str
    description: str
    parameters: tuple[Parameter, ...]
    document: str
    template_version: str = VERSION


def _required(key: str, description: str, example: str) -> Parameter:
    return Parameter(key, description, "(.*?)", example, optional=False)


_RUN_AS_USER: Final = Parameter(
    "runAsUser",
    "User that the handler runs as. When it is not given, the user of the agent.",
    "(.){0,256}",
    "user1",
    optional=True,
)
_PATH_TO_HANDLER: Final = Parameter(
    "pathToHandler",
    "Directory that holds the handler on the device. When it is not given, the agent's own search applies.",
    "(.){0,4096}",
    "default",
    optional=True,
)
_DOWNLOAD_URL: Final = _required(
    "downloadUrl", "URL of the file to download.", "http://www.example.com/index.html"
)
_FILE_PATH: Final = _required(
    "filePath", "Path on the device where the downloaded file is stored.", "/home/user/index.html"
)
_PACKAGES: Final = _required("packages", "Packages, separated by spaces.", "nginx mosquitto")
_SERVICES: Final = _required("services", "Services, separated by spaces.", "nginx mosquitto")
_COMMAND: Final = _required(
    "command",
    r"Program and arguments, separated by commas; a comma within one of them is written \,.",
    "sudo,reboot",
)


def _reference(key: str) -> str:
    return "${aws:iot:parameter:" + key + "}"


def _template(name: str, description: str, action: dict[str, Any], *parameters: Parameter) -> ManagedTemplate:
    step = {"action": {"name": name, **action, "runAsUser": _reference("runAsUser")}}
    document = msgspec.json.encode({"version": "1.0", "steps": [step]}).decode()
    return ManagedTemplate(f"AWS-{name}", description, (*parameters, _RUN_AS_USER), document)


def _handler(name: str, description: str, handler: str, *required: Parameter) -> ManagedTemplate:
    # AWS-Reboot has no member args at all.
    args = {"args": [_reference(parameter.key) for parameter in required]} if required else {}
    path = _reference("pathToHandler")
    action = {"type": "runHandler", "input": {"handler": handler, **args, "path": path}}
    return _template(name, description, action, *required, _PATH_TO_HANDLER)


def _command(name: str, description: str) -> ManagedTemplate:
    action = {"type": "runCommand", "input": {"command": _reference("command")}}
    return _template(name, description, action, _COMMAND)


TEMPLATES: Final[dict[str, ManagedTemplate]] = {
    template.template_name: template
    for template in (
        _handler("Download-File", "Downloads a file.", "download-file.sh", _DOWNLOAD_URL, _FILE_PATH),
        _handler("Install-Application", "Installs packages.", "install-packages.sh", _PACKAGES),
        _handler("Reboot", "Restarts the device.", "reboot.sh"),
        _handler("Remove-Application", "Removes packages.", "remove-packages.sh", _PACKAGES),
        _handler("Restart-Application", "Stops and starts services.", "restart-services.sh", _SERVICES),
        _command("Run-Command", "Runs a command, without a shell."),
        _handler("Start-Application", "Starts services.", "start-services.sh", _SERVICES),
        _handler("Stop-Application", "Stops services.", "stop-services.sh", _SERVICES),
    )
}
"""By name, in the order of ListManagedJobTemplates."""


def by_name(template_name: str, template_version: str | None = None) -> ManagedTemplate | None:
    """Return a template, in its default version if none is given; None (ResourceNotFound) without it."""
    template = TEMPLATES.get(template_name)
    if template is None or template_version not in (None, template.template_version):
        return None
    return template


def by_arn(template_arn: str, region: str) -> ManagedTemplate | None:
    """Return the template of a jobTemplateArn. None: a custom template's ARN, or ResourceNotFound."""
    if not is_managed_arn(template_arn, region):
        return None
    name, _, version = template_arn.removeprefix(_arn_prefix(region)).partition(":")
    return by_name(name, version or None)


def is_managed_arn(template_arn: str, region: str) -> bool:
    """Tell whether an ARN has the form of a managed template's: its account is empty (spec: control plane
    1.8).
    """
    return template_arn.startswith(_arn_prefix(region))


def arn(template: ManagedTemplate, region: str) -> str:
    """Return `arn:aws:iot:{region}::jobtemplate/AWS-Reboot:1.0`."""
    return f"{_arn_prefix(region)}{template.template_name}:{template.template_version}"


def check_parameters(template: ManagedTemplate, parameters: Mapping[str, str]) -> None:
    """Check CreateJob's documentParameters. After it, `placeholders.at_creation` with the template's document
    and these parameters makes the job's, with the empty string for what is optional and absent (A26).

    Raises:
        InvalidRequestError: a required one is missing, a key is unknown, or a value breaks its regex (V17).

    """
    known = {parameter.key: parameter for parameter in template.parameters}
    for key, value in parameters.items():
        parameter = known.get(key)
        if parameter is None:
            message = f"documentParameters.{key[:128]} is unknown to {template.template_name}"
            raise InvalidRequestError(f"{message}; expected {', '.join(known)}")
        if not 1 <= len(value) <= VALUE_CHARACTERS_MAX or not is_plain_text(value):
            message = f"documentParameters.{key} must be 1 to {VALUE_CHARACTERS_MAX} characters of plain text"
            raise InvalidRequestError(message)
        if not re.fullmatch(parameter.regex, value):
            message = f"documentParameters.{key} must match {parameter.regex}"
            raise InvalidRequestError(message)
    for parameter in template.parameters:
        if not parameter.optional and parameter.key not in parameters:
            message = f"documentParameters.{parameter.key} is missing; {template.template_name} requires it"
            raise InvalidRequestError(message)


def summarize(template: ManagedTemplate, region: str) -> dict[str, Any]:
    """Return the entry of ListManagedJobTemplates (spec: control plane 1.4)."""
    return {
        "templateArn": arn(template, region),
        "templateName": template.template_name,
        "description": template.description,
        "environments": list(ENVIRONMENTS),
        "templateVersion": template.template_version,
    }


def describe(template: ManagedTemplate, region: str) -> dict[str, Any]:
    """Return the answer of DescribeManagedJobTemplate (spec: control plane 1.4)."""
    return {
        **summarize(template, region),
        "documentParameters": [msgspec.to_builtins(parameter) for parameter in template.parameters],
        "document": template.document,
    }


def _arn_prefix(region: str) -> str:
    return f"arn:aws:iot:{region}::jobtemplate/"
