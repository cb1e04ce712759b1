"""The eight managed templates (control plane 7.4)."""

import json

import pytest

from thingjobs_agent import document as agent_document
from thingjobs_broker.core.errors import InvalidRequestError
from thingjobs_broker.core.managed_templates import (
    TEMPLATES,
    ManagedTemplate,
    arn,
    by_arn,
    by_name,
    check_parameters,
    describe,
    is_managed_arn,
    summarize,
)
from thingjobs_broker.core.placeholders import at_creation
from thingjobs_protocol.codec import is_plain_text

VALUES = {
    "downloadUrl": "https://example.com/a",
    "filePath": "/tmp/a",
    "packages": "nginx curl",
    "services": "nginx",
    "command": r"echo,a\,b",
}


def named(name: str) -> ManagedTemplate:
    template = by_name(name)
    assert template is not None
    return template


def test_an_arn_without_a_version_names_the_default_one() -> None:
    """Control plane 7.4, "default version"."""
    versioned = arn(named("AWS-Reboot"), "local")
    for given in (versioned, versioned.removesuffix("1.0"), versioned.removesuffix(":1.0")):
        assert by_arn(given, "local") is named("AWS-Reboot")
    assert by_arn(versioned.replace("1.0", "1"), "local") is None
    assert by_arn("AWS-Reboot:1.0", "local") is None


def required(template: ManagedTemplate) -> dict[str, str]:
    return {one.key: VALUES[one.key] for one in template.parameters if not one.optional}


def rendered(template: ManagedTemplate, parameters: dict[str, str]) -> str:
    check_parameters(template, parameters)
    return at_creation(template.document, parameters=parameters, has_role=False)


@pytest.mark.parametrize(
    ("name", "handler", "args"),
    [
        ("AWS-Download-File", "download-file.sh", ["downloadUrl", "filePath"]),
        ("AWS-Install-Application", "install-packages.sh", ["packages"]),
        ("AWS-Reboot", "reboot.sh", None),
        ("AWS-Remove-Application", "remove-packages.sh", ["packages"]),
        ("AWS-Restart-Application", "restart-services.sh", ["services"]),
        ("AWS-Start-Application", "start-services.sh", ["services"]),
        ("AWS-Stop-Application", "stop-services.sh", ["services"]),
    ],
)
def test_a_template_runs_its_handler(name: str, handler: str, args: list[str] | None) -> None:
    """Control plane 7.4, the table; several packages arrive as one argument."""
    template = named(name)
    given = required(template) | {"runAsUser": "pi", "pathToHandler": "/opt/h"}
    put_in = {} if args is None else {"args": [VALUES[key] for key in args]}
    assert json.loads(rendered(template, given)) == {
        "version": "1.0",
        "steps": [
            {
                "action": {
                    "name": name.removeprefix("AWS-"),
                    "type": "runHandler",
                    "input": {"handler": handler, **put_in, "path": "/opt/h"},
                    "runAsUser": "pi",
                }
            }
        ],
    }


def test_run_command_runs_a_command() -> None:
    """Control plane 7.4: runCommand, without a path to a handler."""
    template = named("AWS-Run-Command")
    assert json.loads(rendered(template, required(template)))["steps"] == [
        {
            "action": {
                "name": "Run-Command",
                "type": "runCommand",
                "input": {"command": VALUES["command"]},
                "runAsUser": "",
            }
        }
    ]
    assert [one.key for one in template.parameters] == ["command", "runAsUser"]


@pytest.mark.parametrize("name", sorted(TEMPLATES))
def test_our_agent_reads_the_documents(name: str) -> None:
    """Managed templates run on our own agent; what is optional and absent is empty (A26), as it expects."""
    template = named(name)
    (step,) = agent_document.parse(rendered(template, required(template)).encode()).steps
    assert (step.path, step.run_as_user) == ("", "")
    if name == "AWS-Run-Command":
        assert step.command == ("echo", "a,b")
    else:
        assert step.args == tuple(required(template).values())


def test_v17_a_required_parameter_is_missing() -> None:
    """V17: Download-File without filePath."""
    with pytest.raises(InvalidRequestError, match="filePath is missing"):
        check_parameters(named("AWS-Download-File"), {"downloadUrl": "https://example.com/a"})


def test_v17_a_quote_in_a_value_is_escaped() -> None:
    """V17: the document stays valid JSON."""
    template = named("AWS-Download-File")
    text = rendered(template, {"downloadUrl": 'a"b', "filePath": "c\\d"})
    assert json.loads(text)["steps"][0]["action"]["input"]["args"] == ['a"b', "c\\d"]
    assert 'a\\"b' in text


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"speed": "1"}, "speed is unknown to AWS-Reboot; expected pathToHandler, runAsUser"),
        ({"runAsUser": "u" * 257}, "runAsUser must match"),
        ({"pathToHandler": "p" * 4097}, "pathToHandler must match"),
        ({"runAsUser": ""}, "1 to 30720"),
        ({"runAsUser": "a\nb"}, "plain text"),
        ({"pathToHandler": "p" * 30721}, "1 to 30720"),
    ],
)
def test_a_parameter_out_of_its_range_is_refused(parameters: dict[str, str], fault: str) -> None:
    """Control plane 1.3, 7.4: unknown key, regex mismatch, length, control characters."""
    with pytest.raises(InvalidRequestError) as refused:
        check_parameters(named("AWS-Reboot"), parameters)
    assert fault in refused.value.message


def test_the_longest_values_are_accepted() -> None:
    """Control plane 7.4, the published regexes."""
    check_parameters(named("AWS-Reboot"), {"runAsUser": "u" * 256, "pathToHandler": "p" * 4096})
    check_parameters(named("AWS-Install-Application"), {"packages": "p" * 30720})
    check_parameters(named("AWS-Install-Application"), {"packages": "p"})


def test_templates_are_found_by_name_and_by_arn() -> None:
    """Control plane 1.8: the account of a managed template's ARN is empty; 7.4: all are version 1.0."""
    reboot = named("AWS-Reboot")
    assert arn(reboot, "local") == "arn:aws:iot:local::jobtemplate/AWS-Reboot:1.0"
    assert by_arn(arn(reboot, "local"), "local") is reboot
    assert by_name("AWS-Reboot", "1.0") is reboot
    for name, version in (("AWS-Reboot", "2.0"), ("AWS\u2013Reboot", None), ("Reboot", None)):
        assert by_name(name, version) is None
    for other in (
        "local::jobtemplate/AWS-Reboot:2.0",
        "eu::jobtemplate/AWS-Reboot:1.0",
        "local:1:jobtemplate/x",
    ):
        assert by_arn(f"arn:aws:iot:{other}", "local") is None
    assert is_managed_arn("arn:aws:iot:local::jobtemplate/AWS-Nothing:1.0", "local")
    assert not is_managed_arn("arn:aws:iot:local:000000000000:jobtemplate/mine", "local")


def test_a_template_is_described_as_aws_does() -> None:
    """Control plane 1.4, the rows of Describe- and ListManagedJobTemplates."""
    assert len(TEMPLATES) == 8
    for template in TEMPLATES.values():
        shown = describe(template, "local")
        assert list(shown) == [
            *("templateArn", "templateName", "description", "environments", "templateVersion"),
            *("documentParameters", "document"),
        ]
        assert shown["environments"] == ["LINUX"]
        assert summarize(template, "local") == dict(list(shown.items())[:5])
        assert is_plain_text(template.description)
        for parameter in shown["documentParameters"]:
            assert list(parameter) == ["key", "description", "regex", "example", "optional"]
            check_parameters(template, required(template) | {parameter["key"]: parameter["example"]})
