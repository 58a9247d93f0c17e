"""What the doctor finds in the environment an agent would start in, and in what the agent says."""

import sys

import pytest

from foundation.errors import SettingsError
from spanloop.doctor.surroundings import check_surroundings, run_agent
from tests.unit.spanloop.doctor.stored import about


@pytest.mark.parametrize(
    ("variables", "check", "remedy"),
    [
        ({"OTEL_SDK_DISABLED": "true"}, "sdk", "unset OTEL_SDK_DISABLED"),
        ({"OTEL_TRACES_EXPORTER": "console"}, "exporter", "OTEL_TRACES_EXPORTER=otlp"),
        ({"OTEL_TRACES_SAMPLER": "traceidratio"}, "sampling", "parentbased_always_on"),
        ({"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT": "100"}, "limits", "unset OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT"),
        ({"TRACELOOP_TRACE_CONTENT": "false"}, "hidden content", "unset TRACELOOP_TRACE_CONTENT"),
        ({"OTEL_CONFIG_FILE": "otel.yaml"}, "config file", "otlp exporter"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"},
            "protocol",
            "PROTOCOL=grpc",
        ),
    ],
)
def test_variables_that_lose_spans_are_named(variables: dict[str, str], check: str, remedy: str) -> None:
    """And an environment without any is not complained of."""
    finding = about(check_surroundings(variables), check)

    assert remedy in (finding.remedy or "")
    assert list(check_surroundings({"OTEL_TRACES_EXPORTER": "otlp,spanloop", "OTEL_TRACES_SAMPLER": "always_on"})) == []


def test_all_that_hides_what_is_said_is_unset_at_once() -> None:
    """Whatever its case; what is empty hides nothing."""
    hidden = {
        "OPENINFERENCE_HIDE_INPUTS": "True",
        "OPENINFERENCE_HIDE_OUTPUTS": " true ",
        "TRACELOOP_TRACE_CONTENT": "",
    }

    finding = about(check_surroundings(hidden), "hidden content")

    assert finding.remedy == "unset OPENINFERENCE_HIDE_INPUTS OPENINFERENCE_HIDE_OUTPUTS"


def test_what_an_agent_complains_of_is_explained() -> None:
    """Its output passes through, its status and its last line are said."""
    program = "import sys; sys.exit('Overriding of current TracerProvider is not allowed')"

    found = list(run_agent([sys.executable, "-c", program], {}))

    assert {one.check for one in found} == {"provider overridden", "agent"}
    assert all(one.remedy for one in found)
    with pytest.raises(SettingsError, match="cannot be started"):
        list(run_agent(["no-such-agent"], {}))
