"""What a witness is told, and what it says: values alone, in whole milliseconds, micros and plain fractions.

Nothing here, nor in `watching.py` and `witness.py`, may come from the programs whose bill is doubted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import ClassVar

HOST = ""  # as a namespace: a process that no pod has


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card is in the node from now on."""

    at_ms: int
    gpu: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """A MIG instance. part: of the card's compute, such as 3/7; price lists name its profile."""

    device: str
    profile: str
    part: Fraction


@dataclass(frozen=True, slots=True, kw_only=True)
class Mig:
    """A card is cut like this from now on. slices: all of them; None: it is whole, and out of MIG mode."""

    at_ms: int
    gpu: str
    slices: tuple[Slice, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What one process does on a device from now on.

    device      the card's UUID or the instance's
    namespace   HOST where no pod has the process
    sm_percent  of the device; None: the driver cannot say
    over        the process has ended
    """

    at_ms: int
    device: str
    pid: int
    namespace: str = HOST
    pod: str = ""
    container: str = ""
    sm_percent: int | None = 0
    memory_mib: int = 0
    over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Power:
    """What a card draws from now on."""

    at_ms: int
    gpu: str
    watts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A card answers no more, or does again. node-wide things are `Blind`."""

    at_ms: int
    gpu: str
    lost: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What an hour of a card costs, or, with a profile, of that instance. term: `reserved`; None: for any."""

    model: str
    micros: int
    profile: str | None = None
    tier: str | None = None
    term: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Prices:
    """The whole price book. It holds from the hour in which it was told, as one that is imported by force does.

    factors    of tiers that no price names, by tier
    discounts  by cost center
    """

    at_ms: int
    prices: tuple[Price, ...]
    factors: tuple[tuple[str, Fraction], ...] = ()
    discounts: tuple[tuple[str, Fraction], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How is billed, from the hour in which it was told.

    sharing  `configured`: each of a device's N shares is 1/N of it; `active`: each that is held 1/k, while k are
    """

    at_ms: int
    sharing: str = "configured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A namespace is guaranteed so many devices of a resource from an instant on; 0: no more.

    model  what a unit is priced as: a whole card of this model
    """

    at_ms: int
    namespace: str
    guaranteed: int
    resource: str = "nvidia.com/gpu"
    model: str = "NVIDIA H100 80GB HBM3"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blind:
    """Nobody could observe the node: what the scenario did on purpose. Only here may the product have gaps.

    at_ms, until_ms              from before a part was killed until the node was observed again
    dark_from_ms, dark_until_ms  while it was dead for certain
    """

    at_ms: int
    until_ms: int
    why: str
    dark_from_ms: int = 0
    dark_until_ms: int = 0


Told = Card | Mig | Load | Power | Lost | Prices | Policy | Plan | Blind


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """A container held one slot of a device, by the API server's stamps: from its bind to the end of its last second.

    account   who owns the namespace meanwhile: its cost center, or `unowned`. tier, team: its labels of that name
    gpu       the card. profile: of the MIG instance; None: the card is whole
    part      of the card, that is paid for: 1, 3/7, 1/4. whole: what the device is of it, shared or not
    offered   of the card, by how many shares the device was offered in, where another part is paid for; None: `part`
    share     of the device; 0 where it is not shared
    from_ms   the bind's second
    until_ms  the end of the last second in which it ran, or of the testimony
    given_ms  when it stood in the kubelet's note; None: the kubelet gave the container nothing
    started_ms  the second in which a container that was given it first ran; None: nobody has heard
    stamped   that second is the API server's; False: it is when the witness heard that the pod was gone
    uid       of the pod
    evidence  what the witness saw, for whoever doubts it

    Where its owner or its part of the card changes it is another hold, that begins where this one ends.
    """

    account: str
    tier: str | None = None
    team: str = ""
    namespace: str
    pod: str
    container: str
    resource: str = "nvidia.com/gpu"
    gpu: str
    model: str
    profile: str | None = None
    device: str
    share: int = 0
    part: Fraction = Fraction(1)
    whole: Fraction = Fraction(1)
    offered: Fraction | None = None
    from_ms: int
    until_ms: int
    given_ms: int | None = None
    started_ms: int | None = None
    stamped: bool = True
    uid: str = ""
    evidence: tuple[str, ...] = ()

    @property
    def slot(self) -> tuple[str, int]:
        return (self.device, self.share)

    @property
    def holder(self) -> tuple[str, str, str]:
        return (self.namespace, self.pod, self.container)

    @property
    def drawn(self) -> Fraction:
        """Its part of what the card draws for nobody's work: who pays for a share is no matter of the node's."""
        return self.part if self.offered is None else self.offered


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Of one account, exactly. gpu_s: seconds of whole cards."""

    gpu_s: Fraction = Fraction(0)
    busy_s: Fraction = Fraction(0)
    joules: Fraction = Fraction(0)
    list_micros: Fraction = Fraction(0)
    amount_micros: Fraction = Fraction(0)

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            gpu_s=self.gpu_s + other.gpu_s,
            busy_s=self.busy_s + other.busy_s,
            joules=self.joules + other.joules,
            list_micros=self.list_micros + other.list_micros,
            amount_micros=self.amount_micros + other.amount_micros,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Testimony:
    """What was so from `from_ms` until `until_ms`. accounts: by name, holders' alone; holds: by time."""

    __test__: ClassVar[bool] = False  # a name for pytest, but no test

    from_ms: int
    until_ms: int
    holds: tuple[Hold, ...]
    told: tuple[Told, ...] = ()
    accounts: dict[str, Totals] = field(default_factory=dict)


def total(parts: Iterable[Totals]) -> Totals:
    return sum(parts, Totals())
