"""A scenario: what happens on a GPU node, second by second. Values only; `reading.py` makes them of a YAML file.

Times are seconds from the scenario's beginning. Namespaces go by the short names that the scenario gives them,
cards by their number from 0, workloads by the name they were applied under, whatever their pods are called.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

GPU = "nvidia.com/gpu"
H100 = "NVIDIA H100 80GB HBM3"

Part = Literal["agent", "aggregator", "database", "kubelet", "plugin", "containerd", "api-server"]
Role = Literal["main", "init", "sidecar"]
Kind = Literal["pod", "job", "deployment"]
By = Literal["time-slicing", "mps"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card of the node. mig: profiles of its instances; empty: it is whole."""

    mig: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Of the whole cards. renamed: shares are offered as nvidia.com/gpu.shared."""

    replicas: int = 1
    by: By = "time-slicing"
    renamed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How is billed. sharing `active`: the held shares carry all of a device; `configured`: unsold ones are idle."""

    sharing: Literal["configured", "active"] = "configured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a card of a model costs an hour, as a decimal; or one MIG instance of it, or a holder of a tier."""

    model: str
    price: str
    profile: str | None = None
    tier: str | None = None
    term: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a namespace is guaranteed, and pays for whether it is used or not. price_key: what a unit is priced as."""

    guaranteed: int
    resource: str = GPU
    cap: int | None = None
    price_key: str = H100


@dataclass(frozen=True, slots=True, kw_only=True)
class Namespace:
    """quota: the most of nvidia.com/gpu that its pods may ask for."""

    labels: Mapping[str, str] = field(default_factory=dict)
    quota: int | None = None
    plan: Plan | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Container:
    """runs: after how many seconds it ends by itself; None: it has to be ended. exit: with which code."""

    name: str = "main"
    role: Role = "main"
    gpus: int = 0
    resource: str = GPU
    runs: float | None = None
    exit: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """at: when."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Apply(Step):
    """Create a workload, or change a Deployment: another release rolls it out.

    count  of a Job: so many Jobs, NAME-1, NAME-2 …; of a Deployment: its replicas
    every  seconds from one of the count to the next
    """

    kind: Kind = "pod"
    name: str
    namespace: str
    containers: tuple[Container, ...]
    count: int = 1
    every: float = 0.0
    release: str = "1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete(Step):
    """now: without grace."""

    kind: Kind = "pod"
    name: str
    namespace: str
    now: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill(Step):
    """SIGKILL to the first process of a container: the kubelet begins it anew, if its pod says so."""

    name: str
    namespace: str
    container: str = "main"


@dataclass(frozen=True, slots=True, kw_only=True)
class OnDevices(Step):
    """A process works on every device that a container holds, until its seconds are over.

    sm      percent of the device's multiprocessors
    watts   what each card draws meanwhile, beside what it draws idle
    """

    name: str
    namespace: str
    container: str = "main"
    sm: int
    memory_mib: int = 1024
    watts: int = 300
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Load(OnDevices):
    """It is the container's own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Intrude(OnDevices):
    """It is one of the node itself, in no pod."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mig(Step):
    """Cut a card anew: instances whose profiles are still wanted stay, with whoever holds them."""

    card: int
    profiles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replicas(Step):
    """The device plugin begins anew and offers the whole cards so."""

    replicas: int
    renamed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Label(Step):
    namespace: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reprice(Step):
    """A new price book. It holds from the running hour on: what was rated of that hour is rated anew."""

    prices: tuple[Price, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota(Step):
    namespace: str
    hard: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarantee(Step):
    """A plan from now on; guaranteed 0 ends it."""

    namespace: str
    plan: Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Lose(Step):
    """The card falls off the bus: every call about it fails."""

    card: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recover(Step):
    card: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(Step):
    """SIGKILL to a part, and `down` seconds later it is started again."""

    part: Part
    down: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut(Step):
    """Agent and aggregator reach each other no more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mend(Step):
    """They reach each other again."""


# What a step may `do`.
VERBS: dict[str, type[Step]] = {
    "apply": Apply,
    "delete": Delete,
    "kill": Kill,
    "load": Load,
    "intrude": Intrude,
    "mig": Mig,
    "replicas": Replicas,
    "label": Label,
    "price": Reprice,
    "quota": Quota,
    "plan": Guarantee,
    "lose": Lose,
    "recover": Recover,
    "restart": Restart,
    "cut": Cut,
    "mend": Mend,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A part is killed so many times, each at a moment that the seed chooses between two."""

    part: Part
    between: tuple[float, float]
    times: int = 1
    down: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """until: when it is over; what still runs then is deleted.

    shows: lines that its bill has, by what they say (`comparison/shown_checks.py`), for what befalls leaves them
    """

    name: str
    about: str
    cards: tuple[Card, ...] = ()
    sharing: Sharing = field(default_factory=Sharing)
    policy: Policy = field(default_factory=Policy)
    prices: tuple[Price, ...] = ()
    namespaces: Mapping[str, Namespace]
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...] = ()
    shows: tuple[Mapping[str, str], ...] = ()
    until: float
