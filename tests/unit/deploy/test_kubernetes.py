"""The objects of the cluster, against each other and against what our processes do."""

import re

import pytest

from foundation.errors import ExitStatus
from foundation.web.keys import Scope
from serve.server import FLUSH_TIMEOUT_S, STOP_GRACE_S
from tests.unit.deploy.files import DEPLOY, Object, containers, documents, objects, pods


def of_kind(kind: str) -> dict[str, Object]:
    return {each["metadata"]["name"]: each for each in objects() if each["kind"] == kind}


def test_a_night_acts_on_our_exit_codes() -> None:
    """Wrong settings and a gate's refusal end it; a failure and a lock that somebody holds are tried again."""
    job = of_kind("CronJob")["nightly"]["spec"]
    policy = job["jobTemplate"]["spec"]["podFailurePolicy"]["rules"]
    (failing,) = [rule["onExitCodes"] for rule in policy if rule["action"] == "FailJob"]

    assert set(failing["values"]) == {int(ExitStatus.SETTINGS), int(ExitStatus.REFUSED)}
    assert failing["containerName"] in {each["name"] for each in pods()["nightly"]["spec"]["containers"]}
    assert pods()["nightly"]["spec"]["restartPolicy"] == "Never"
    assert job["concurrencyPolicy"] == "Forbid"
    assert job["jobTemplate"]["spec"]["backoffLimit"] > 0


@pytest.mark.parametrize("name", sorted(pods()))
def test_every_pod_is_without_rights(name: str) -> None:
    """No root, no writable root, no capability, no token of the cluster, no variables the cluster adds unasked."""
    spec = pods()[name]["spec"]

    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    for container in (*spec.get("initContainers", ()), *spec["containers"]):
        context = container["securityContext"]
        assert (context["readOnlyRootFilesystem"], context["allowPrivilegeEscalation"]) == (True, False)
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert {mount["name"] for mount in container["volumeMounts"]} <= {
            *(volume["name"] for volume in spec["volumes"]),
            *(
                each["metadata"]["name"]
                for each in of_kind("StatefulSet").get(name, {"spec": {}})["spec"].get("volumeClaimTemplates", ())
            ),
        }


def test_ports_are_the_ones_that_are_listened_on() -> None:
    """In arguments, containers, services, probes and policies alike."""
    listened = {name: set[int]() for name in pods()}
    named = {name: dict[str, int]() for name in pods()}
    for pod, container in containers():
        listened[pod] |= {int(port) for port in re.findall(r"0\.0\.0\.0:(\d+)", " ".join(container["args"]))}
        named[pod] |= {port["name"]: port["containerPort"] for port in container.get("ports", ())}
        for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
            for probe in (container.get(kind) or {}).values():
                assert not isinstance(probe, dict) or probe["port"] in named[pod]
    assert listened == {name: set(ports.values()) for name, ports in named.items()}
    for service in of_kind("Service").values():
        pod = service["spec"]["selector"]["app.kubernetes.io/name"]
        for port in service["spec"]["ports"]:
            assert named[pod][port["targetPort"]] == port["port"]
    for name, policy in of_kind("NetworkPolicy").items():
        for rule in policy["spec"].get("ingress") or ():
            assert {port["port"] for port in rule["ports"]} <= set(named[name])


def test_addresses_are_those_of_services() -> None:
    """What a pod is told to ask is a service of ours at a port it has."""
    known = {(name, port["port"]) for name, each in of_kind("Service").items() for port in each["spec"]["ports"]}
    told = [*(arg for _, each in containers() for arg in each["args"])]
    told += [str(variable.get("value")) for _, each in containers() for variable in each.get("env", ())]
    asked = {(host, int(port)) for text in told for host, port in re.findall(r"http://([a-z-]+):(\d+)", text)}

    assert asked == {("receiver", 4318), ("receiver", 4317), ("gateway", 8001)}
    assert asked <= known


def test_a_policy_covers_every_pod() -> None:
    """Nobody is reached who is not named; what changes the live model is for the night."""
    policies = of_kind("NetworkPolicy")
    (covered,) = policies["spanloop-deny"]["spec"]["podSelector"]["matchExpressions"]
    (control,) = [rule for rule in policies["gateway"]["spec"]["ingress"] if rule["ports"] == [{"port": "control"}]]

    assert (
        set(covered["values"])
        == set(pods())
        == {pod["metadata"]["labels"]["app.kubernetes.io/name"] for pod in pods().values()}
    )
    assert control["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "nightly"}}}]


def test_what_is_told_to_end_has_the_time_it_takes() -> None:
    """Answers in flight, and the last spans."""
    assert pods()["gateway"]["spec"]["terminationGracePeriodSeconds"] > STOP_GRACE_S + FLUSH_TIMEOUT_S


def test_the_key_that_is_stated_may_do_everything_the_loop_does() -> None:
    """One secret, each scope."""
    for pod, container in containers():
        if container["name"] == "key":
            stated = {
                value
                for flag, value in zip(container["args"], container["args"][1:], strict=False)
                if flag == "--scope"
            }
            assert stated == set(Scope), pod


def test_prometheus_scrapes_what_services_offer() -> None:
    """By a port that has this name, with the key."""
    ports = {port["name"] for each in of_kind("Service").values() for port in each["spec"]["ports"]}
    for monitor in documents(DEPLOY / "kustomize" / "components" / "monitoring" / "monitors.yaml"):
        for endpoint in monitor["spec"]["endpoints"]:
            assert endpoint["port"] in ports
            assert endpoint["authorization"]["credentials"] == {"name": "spanloop-key", "key": "key"}
