"""Kubernetes: a file a service, with its Deployment and, where it has ports, its Service.

The image's init stays PID 1, so the command is `args`. `$` is doubled in what Kubernetes expands: `$(NAME)`.
"""

from __future__ import annotations

import os

from devtasks.export import containers, yaml
from devtasks.export.dockerfile import image
from devtasks.export.images import Question, question
from devtasks.export.plan import File, Ledger, Surroundings, Unit, argv, slug, units, variables, whole_seconds
from devtasks.model import HealthProbe, Project, ReadyProbe, Service
from devtasks.values import Value

TITLE = "Kubernetes"
FOLDER = "deploy/kubernetes"

_Node = dict[str, yaml.Node]
_ASK_SECONDS = 2
_LONGEST = 52  # of 63 characters, what a Deployment's own suffixes leave


class _Scene(Value):
    """What every part of one Deployment is made from."""

    project: Project
    around: Surroundings
    unit: Unit
    name: str

    @property
    def service(self) -> Service:
        return self.unit.service


def export(project: Project, around: Surroundings, ledger: Ledger) -> tuple[tuple[File, ...], tuple[str, ...]]:
    """One file a service, one for the volumes, and the commands that apply them."""
    made = units(project, merge=True)
    scenes = [_Scene(project=project, around=around, unit=unit, name=_name(project, unit.name)) for unit in made]
    files = []
    claims: dict[str, str] = {}
    for scene in scenes:
        claims |= dict(containers.data(project, scene.service, ledger))
        documents = [_deployment(scene, ledger, scenes), *_service(scene, ledger)]
        body = "---\n".join(yaml.document(one) for one in documents)
        files.append(File(path=f"{scene.name}.yaml", body=body, about=(scene.service.group,)))
    if claims:
        body = "---\n".join(yaml.document(_claim(project, name)) for name in claims)
        files.append(File(path=f"{_name(project, 'volumes')}.yaml", body=body, about=()))
    containers.told(project, ledger)
    for scene in scenes:
        _not_a_pods(scene.service, ledger)
    return tuple(files), _commands(project, around, scenes)


def _name(project: Project, unit_name: str) -> str:
    return slug(f"{slug(project.name)}-{unit_name}", longest=_LONGEST)


def _deployment(scene: _Scene, ledger: Ledger, scenes: list[_Scene]) -> _Node:
    service = scene.service
    mounts = list(containers.data(scene.project, service, ledger))
    pod: _Node = {
        "enableServiceLinks": False,  # or variables of every Service would come on top
        "terminationGracePeriodSeconds": whole_seconds(service.stop.timeout_seconds),
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": containers.USER,
            "runAsGroup": containers.USER,
            "fsGroup": containers.USER,
        },
    }
    ledger.put(service, "stop.timeout", "terminationGracePeriodSeconds")
    ledger.put(service, "stop.signal", "STOPSIGNAL of the image")
    first = [*_waits(scene, ledger, scenes), *_before(scene, ledger)]
    if first:
        pod["initContainers"] = first
    pod["containers"] = [_container(scene, ledger, mounts)]
    if mounts:
        pod["volumes"] = [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name, _ in mounts]
        ledger.put(service, "data", "PersistentVolumeClaim")
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": _metadata(scene.project, scene.name),
        "spec": {
            "replicas": scene.unit.replicas,
            "selector": {"matchLabels": {"app.kubernetes.io/name": scene.name}},
            **({"strategy": {"type": "Recreate"}} if mounts else {}),  # a volume is one pod's
            "template": {"metadata": {"labels": _labels(scene.project, scene.name)}, "spec": pod},
        },
    }


def _container(scene: _Scene, ledger: Ledger, mounts: list[tuple[str, str]]) -> _Node:
    service = scene.service
    node = _base(scene, ledger, scene.unit.name)
    node["args"] = [_literal(word) for word in argv(service)]
    ledger.put(service, "command", "args")
    if service.shell:
        ledger.put(service, "shell", "/bin/sh -c")
    if service.stdin == "open":
        node["stdin"] = True
    else:
        ledger.put(service, "stdin", "no stdin")
    if service.ports:
        node["ports"] = [{"name": f"port-{port}", "containerPort": port} for port in service.ports]
        ledger.put(service, "host", "0.0.0.0 in the pod")
    node |= _probes(scene, ledger)
    if mounts:
        node["volumeMounts"] = [{"name": name, "mountPath": path} for name, path in mounts]
    limits: _Node = {}
    if service.limits.memory_bytes is not None:
        limits["memory"] = str(service.limits.memory_bytes)
        ledger.put(service, "limits.memory", "resources.limits.memory")
    if service.limits.cpu is not None:
        limits["cpu"] = f"{round(service.limits.cpu * 1000)}m"
        ledger.put(service, "limits.cpu", "resources.limits.cpu")
    if limits:
        node["resources"] = {"limits": limits}
    return node


def _base(scene: _Scene, ledger: Ledger, name: str) -> _Node:
    """Image, folder and environment, which the service and what runs before it share."""
    service = scene.service
    node: _Node = {
        "name": name[:63].strip("-"),
        "image": image(scene.project, scene.unit.name),
        "imagePullPolicy": "IfNotPresent",
        "workingDir": str(containers.folder(scene.project, service)),
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    ledger.put(service, "cwd", "workingDir")
    plain, secret = variables(service, ledger, f"it is taken from the Secret {scene.name}-secrets")
    env: list[yaml.Node] = [{"name": key, "value": _literal(value)} for key, value in plain.items()]
    env += [
        {"name": key, "valueFrom": {"secretKeyRef": {"name": f"{scene.name}-secrets", "key": key}}}
        for key in secret
    ]
    if env:
        node["env"] = env
        ledger.put(service, "env", "env")
    if service.env_file is not None:
        node["envFrom"] = [{"secretRef": {"name": f"{scene.name}-env"}}]
        ledger.put(service, "env_file", f"envFrom: the Secret {scene.name}-env")
    return node


def _waits(scene: _Scene, ledger: Ledger, scenes: list[_Scene]) -> list[yaml.Node]:
    """Containers that run until what the service depends on accepts connections."""
    service = scene.service
    made: list[yaml.Node] = []
    for group in service.depends_on:
        needed = [other for other in scenes if other.service.group == group]
        for other in needed:
            if not other.service.ports:
                ledger.cannot(service, "depends_on", f"{group} has no port, so nothing waits for it")
                continue
            made.append(_wait(scene, other))
            ledger.put(service, "depends_on", "an init container waits for its port")
        if not needed:
            ledger.cannot(service, "depends_on", f"{group} is not exported with it")
    return made


def _wait(scene: _Scene, other: _Scene) -> yaml.Node:
    port = str(other.service.ports[0])
    loop = 'until timeout 2 bash -c \': <"/dev/tcp/$0/$1"\' "$0" "$1" 2>/dev/null; do sleep 1; done'
    return {
        "name": f"wait-for-{other.unit.name}"[:63].strip("-"),
        "image": image(scene.project, scene.unit.name),
        "imagePullPolicy": "IfNotPresent",
        "securityContext": {"allowPrivilegeEscalation": False},
        "args": [_literal(word) for word in ("/bin/sh", "-c", loop, other.name, port)],
    }


def _before(scene: _Scene, ledger: Ledger) -> list[yaml.Node]:
    service = scene.service
    made: list[yaml.Node] = []
    for index, step in enumerate(service.before, 1):
        made.append({**_base(scene, ledger, f"before-{index}"), "args": [_literal(word) for word in step]})
        ledger.put(service, "before", "init containers")
        ledger.cannot(service, "before", "runs when a pod begins, not again when its container is restarted")
    return made


def _probes(scene: _Scene, ledger: Ledger) -> _Node:
    service = scene.service
    ready, health = service.ready, service.health
    begun = _asked(scene, ledger, "ready", ready, _ASK_SECONDS)
    alive = None if health is None else _asked(scene, ledger, "health", health, health.timeout_seconds)
    node: _Node = {}
    if begun is not None:
        patience = whole_seconds(ready.timeout_seconds)
        node["startupProbe"] = {
            **begun,
            "periodSeconds": 1,
            "timeoutSeconds": _ASK_SECONDS,
            "failureThreshold": patience,
        }
    if alive is None or health is None:
        if begun is not None:
            node["readinessProbe"] = {**begun, "periodSeconds": 10, "timeoutSeconds": _ASK_SECONDS}
        return node
    seconds = {key: whole_seconds(getattr(health, f"{key}_seconds")) for key in ("interval", "timeout")}
    for key, whole in seconds.items():
        if whole != getattr(health, f"{key}_seconds"):
            ledger.cannot(service, "health", f"{key} counts in whole seconds: {whole}")
    timing: _Node = {"periodSeconds": seconds["interval"], "timeoutSeconds": seconds["timeout"]}
    node["readinessProbe"] = {**alive, **timing, "failureThreshold": health.failures}
    node["livenessProbe"] = {
        **alive,
        "initialDelaySeconds": 0
        if health.start_period_seconds == 0
        else whole_seconds(health.start_period_seconds),
        **timing,
        "failureThreshold": health.failures,
    }
    return node


def _asked(scene: _Scene, ledger: Ledger, key: str, probe: ReadyProbe | HealthProbe, wait: float) -> _Node | None:
    """A probe's question; by the kubelet itself where that asks the same, else by a command in the container."""
    service = scene.service
    if probe.log is not None:
        ledger.cannot(service, key, "a container's log is not looked at")
        return None
    plain = not (probe.status or probe.body)
    if probe.http is not None and plain and probe.http.startswith("/"):
        ledger.put(service, key, "httpGet")
        return {"httpGet": {"path": probe.http, "port": service.port}}
    if probe.http is None and probe.command is None:
        if service.port is None:
            return None
        ledger.put(service, key, "tcpSocket")
        return {"tcpSocket": {"port": service.port}}
    language = scene.around.builds[service.group].language
    asked: Question | None = question(service, probe, language, wait=wait, inside=True)
    if asked is None:
        return None
    if asked.loss:
        ledger.cannot(service, key, asked.loss)
    ledger.put(service, key, "exec")
    return {"exec": {"command": [_literal(word) for word in asked.argv]}}


def _service(scene: _Scene, ledger: Ledger) -> tuple[_Node, ...]:
    ports = scene.service.ports
    if not ports:
        return ()
    ledger.put(scene.service, "ports", "Service")
    return (
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": _metadata(scene.project, scene.name),
            "spec": {
                "selector": {"app.kubernetes.io/name": scene.name},
                "ports": [{"name": f"port-{port}", "port": port, "targetPort": port} for port in ports],
            },
        },
    )


def _claim(project: Project, name: str) -> _Node:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": _metadata(project, name),
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def _metadata(project: Project, name: str) -> _Node:
    return {"name": name, "labels": _labels(project, name)}


def _labels(project: Project, name: str) -> _Node:
    return {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": slug(project.name)}


def _not_a_pods(service: Service, ledger: Ledger) -> None:
    if len(service.stop.signals) > 1:
        ledger.cannot(service, "stop.signal", f"only {service.stop.signals[0]} is sent")
    if service.stop.timeout_seconds != whole_seconds(service.stop.timeout_seconds):
        ledger.cannot(service, "stop.timeout", f"whole seconds: {whole_seconds(service.stop.timeout_seconds)}")
    if not service.stop.kill:
        ledger.cannot(service, "stop.kill", "a container is killed when its time is over")
    if service.restart.policy == "always":
        ledger.put(service, "restart.policy", "restartPolicy: Always")
    else:
        ledger.cannot(service, "restart.policy", "a Deployment always restarts")
    delays = "the kubelet restarts without a limit, after 10 s, doubled up to 300 s"
    for key in ("max", "window", "backoff", "max_backoff", "cooldown"):
        ledger.put(service, f"restart.{key}", "see restart.max")
    ledger.cannot(service, "restart.max", delays)
    for key in ("nofile", "nproc"):
        if getattr(service.limits, key) is not None:
            ledger.cannot(service, f"limits.{key}", "is the node's affair")
    if service.log_max_bytes is not None:
        ledger.cannot(service, "log_max_bytes", "the kubelet rotates: containerLogMaxSize")
    if service.data:
        ledger.cannot(
            service, "data", "the size is a guess, 1Gi: change it with --force at hand, or in an overlay"
        )


def _literal(text: str) -> str:
    return text.replace("$", "$$")


def _commands(project: Project, around: Surroundings, scenes: list[_Scene]) -> tuple[str, ...]:
    import shlex

    output = shlex.quote(os.path.relpath(around.output, project.root))
    lines = ["devtasks export --to dockerfile, build the images and push them to where the cluster finds them"]
    for scene in scenes:
        service = scene.service
        if service.env_file is not None:
            file = shlex.quote(os.path.relpath(service.env_file, project.root))
            lines.append(f"kubectl create secret generic {scene.name}-env --from-env-file={file}")
        _, secret = variables(service, Ledger(), "")
        if secret:
            literals = " ".join(f"--from-literal={shlex.quote(name)}=VALUE" for name in secret)
            lines.append(f"kubectl create secret generic {scene.name}-secrets {literals}")
    label = f"-l app.kubernetes.io/part-of={slug(project.name)}"
    return (
        *lines,
        f"kubectl apply -f {output}",
        f"kubectl get deployments,pods {label}",
        f"kubectl logs -f --prefix {label}",
    )
