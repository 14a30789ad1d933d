"""The fields that the manifests may use: names and types of KubeRay 1.6 to 1.7 and Kubernetes.

A field that a type requires ends in `!`. A value is a type, a name of this table, or one of them in
a list; `open` is not looked into.
"""

from typing import Any

Quantity = (str, int)
Labels = dict
Field = Any

_TOP = {"apiVersion!": str, "kind!": str, "metadata!": "ObjectMeta"}

FIELDS: dict[str, dict[str, Field]] = {
    # ray.io/v1
    "RayCluster": {**_TOP, "spec!": "RayClusterSpec"},
    "RayJob": {**_TOP, "spec!": "RayJobSpec"},
    "RayCronJob": {**_TOP, "spec!": "RayCronJobSpec"},
    "RayClusterSpec": {
        "authOptions": "AuthOptions",
        "autoscalerOptions": "open",
        "enableInTreeAutoscaling": bool,
        "gcsFaultToleranceOptions": "open",
        "headGroupSpec!": "HeadGroupSpec",
        "headServiceAnnotations": Labels,
        "managedBy": str,
        "rayVersion": str,
        "suspend": bool,
        "upgradeStrategy": "open",
        "workerGroupSpecs": ["WorkerGroupSpec"],
    },
    "AuthOptions": {"mode": str},
    "HeadGroupSpec": {
        "enableIngress": bool,
        "headService": "open",
        "rayStartParams": Labels,
        "serviceType": str,
        "template!": "PodTemplateSpec",
    },
    "WorkerGroupSpec": {
        "groupName!": str,
        "idleTimeoutSeconds": int,
        "maxReplicas!": int,
        "minReplicas!": int,
        "numOfHosts": int,
        "rayStartParams": Labels,
        "replicas": int,
        "scaleStrategy": "open",
        "suspend": bool,
        "template!": "PodTemplateSpec",
    },
    "RayJobSpec": {
        "activeDeadlineSeconds": int,
        "backoffLimit": int,
        "clusterSelector": Labels,
        "deletionStrategy": "open",
        "entrypoint!": str,
        "entrypointNumCpus": int,
        "entrypointNumGpus": int,
        "entrypointResources": str,
        "jobId": str,
        "managedBy": str,
        "metadata": Labels,
        "rayClusterSpec": "RayClusterSpec",
        "runtimeEnvYAML": str,
        "shutdownAfterJobFinishes": bool,
        "submissionMode": str,
        "submitterConfig": "open",
        "submitterPodTemplate": "PodTemplateSpec",
        "suspend": bool,
        "ttlSecondsAfterFinished": int,
    },
    "RayCronJobSpec": {"jobTemplate!": "RayJobSpec", "schedule!": str, "suspend": bool},
    # batch/v1
    "CronJob": {**_TOP, "spec!": "CronJobSpec"},
    "CronJobSpec": {
        "concurrencyPolicy": str,
        "failedJobsHistoryLimit": int,
        "jobTemplate!": "JobTemplateSpec",
        "schedule!": str,
        "startingDeadlineSeconds": int,
        "successfulJobsHistoryLimit": int,
        "suspend": bool,
        "timeZone": str,
    },
    "JobTemplateSpec": {"metadata": "ObjectMeta", "spec!": "JobSpec"},
    "JobSpec": {
        "activeDeadlineSeconds": int,
        "backoffLimit": int,
        "completions": int,
        "parallelism": int,
        "podFailurePolicy": "PodFailurePolicy",
        "suspend": bool,
        "template!": "PodTemplateSpec",
        "ttlSecondsAfterFinished": int,
    },
    "PodFailurePolicy": {"rules!": ["PodFailurePolicyRule"]},
    "PodFailurePolicyRule": {
        "action!": str,
        "onExitCodes": "OnExitCodes",
        "onPodConditions": "open",
    },
    "OnExitCodes": {"containerName": str, "operator!": str, "values!": [int]},
    # networking.k8s.io/v1
    "NetworkPolicy": {**_TOP, "spec!": "NetworkPolicySpec"},
    "NetworkPolicySpec": {
        "egress": ["EgressRule"],
        "ingress": ["IngressRule"],
        "podSelector!": "LabelSelector",
        "policyTypes": [str],
    },
    "EgressRule": {"ports": ["PolicyPort"], "to": ["Peer"]},
    "IngressRule": {"from": ["Peer"], "ports": ["PolicyPort"]},
    "Peer": {
        "ipBlock": "IPBlock",
        "namespaceSelector": "LabelSelector",
        "podSelector": "LabelSelector",
    },
    "IPBlock": {"cidr!": str, "except": [str]},
    "PolicyPort": {"endPort": int, "port": int, "protocol": str},
    "LabelSelector": {"matchExpressions": ["open"], "matchLabels": Labels},
    # v1
    "Secret": {**_TOP, "data": Labels, "immutable": bool, "stringData": Labels, "type": str},
    "ObjectMeta": {"annotations": Labels, "labels": Labels, "name": str, "namespace": str},
    "PodTemplateSpec": {"metadata": "ObjectMeta", "spec!": "PodSpec"},
    "PodSpec": {
        "affinity": "open",
        "automountServiceAccountToken": bool,
        "containers!": ["Container"],
        "initContainers": ["Container"],
        "nodeSelector": Labels,
        "priorityClassName": str,
        "restartPolicy": str,
        "securityContext": "PodSecurityContext",
        "serviceAccountName": str,
        "terminationGracePeriodSeconds": int,
        "tolerations": ["Toleration"],
        "volumes": ["Volume"],
    },
    "PodSecurityContext": {
        "fsGroup": int,
        "runAsGroup": int,
        "runAsNonRoot": bool,
        "runAsUser": int,
        "seccompProfile": "SeccompProfile",
        "supplementalGroups": [int],
    },
    "SeccompProfile": {"localhostProfile": str, "type!": str},
    "Toleration": {
        "effect": str,
        "key": str,
        "operator": str,
        "tolerationSeconds": int,
        "value": str,
    },
    "Container": {
        "args": [str],
        "command": [str],
        "env": ["EnvVar"],
        "envFrom": ["open"],
        "image": str,
        "imagePullPolicy": str,
        "lifecycle": "open",
        "livenessProbe": "open",
        "name!": str,
        "ports": ["ContainerPort"],
        "readinessProbe": "open",
        "resources": "Resources",
        "securityContext": "ContainerSecurityContext",
        "volumeMounts": ["VolumeMount"],
        "workingDir": str,
    },
    "ContainerSecurityContext": {
        "allowPrivilegeEscalation": bool,
        "capabilities": "Capabilities",
        "privileged": bool,
        "readOnlyRootFilesystem": bool,
        "runAsNonRoot": bool,
        "runAsUser": int,
    },
    "Capabilities": {"add": [str], "drop": [str]},
    "ContainerPort": {"containerPort!": int, "hostPort": int, "name": str, "protocol": str},
    "Resources": {"claims": ["open"], "limits": "Quantities", "requests": "Quantities"},
    "Quantities": {"cpu": Quantity, "memory": Quantity, "nvidia.com/gpu": Quantity},
    "EnvVar": {"name!": str, "value": str, "valueFrom": "EnvVarSource"},
    "EnvVarSource": {
        "configMapKeyRef": "KeyRef",
        "fieldRef": "open",
        "resourceFieldRef": "open",
        "secretKeyRef": "KeyRef",
    },
    "KeyRef": {"key!": str, "name!": str, "optional": bool},
    "VolumeMount": {"mountPath!": str, "name!": str, "readOnly": bool, "subPath": str},
    "Volume": {
        "configMap": "ConfigMapVolume",
        "emptyDir": "EmptyDir",
        "name!": str,
        "persistentVolumeClaim": "open",
        "secret": "open",
    },
    "ConfigMapVolume": {"defaultMode": int, "items": ["open"], "name!": str, "optional": bool},
    "EmptyDir": {"medium": str, "sizeLimit": Quantity},
}

VERSIONS = {
    "RayCluster": "ray.io/v1",
    "RayJob": "ray.io/v1",
    "RayCronJob": "ray.io/v1",
    "CronJob": "batch/v1",
    "NetworkPolicy": "networking.k8s.io/v1",
    "Secret": "v1",
}
#: What a field of one value may hold, where that is a closed list.
CHOICES = {
    "action": {"FailJob", "FailIndex", "Ignore", "Count"},
    "concurrencyPolicy": {"Allow", "Forbid", "Replace"},
    "medium": {"", "Memory"},
    "mode": {"token", "disabled"},
    "submissionMode": {"K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"},
}


def field_problems(value: Any, kind: Field, where: str) -> list[str]:
    """What in `value` is not as its type says: unknown, missing, of another type."""
    if kind == "open":
        return []
    if isinstance(kind, list):
        if not isinstance(value, list):
            return [f"{where}: is no list"]
        return [
            problem
            for index, item in enumerate(value)
            for problem in field_problems(item, kind[0], f"{where}[{index}]")
        ]
    if not isinstance(kind, str):
        wrong = not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool)
        if not wrong and kind is Labels:
            wrong = not all(isinstance(item, str) for pair in value.items() for item in pair)
        return [f"{where}: {value!r} is of a wrong type"] if wrong else []
    if not isinstance(value, dict):
        return [f"{where}: is no {kind}"]
    known = {name.rstrip("!"): field for name, field in FIELDS[kind].items()}
    required = {name.rstrip("!") for name in FIELDS[kind] if name.endswith("!")}
    found = [f"{where}: {name} is missing" for name in sorted(required - value.keys())]
    for name, item in value.items():
        if name not in known:
            found.append(f"{where}: {kind} has no field {name}")
        elif name in CHOICES and item not in CHOICES[name]:
            found.append(f"{where}.{name}: {item} is none of {sorted(CHOICES[name])}")
        else:
            found += field_problems(item, known[name], f"{where}.{name}")
    return found
