"""A line: one row of the ledger, and the accounts where lines are posted."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from hashlib import blake2b

from chargeback.core.values import value

UNOWNED = "unowned"
IDLE = "platform:idle"
GAP = "platform:gap"
UNAVAILABLE = "platform:unavailable"
UNATTRIBUTED = "platform:unattributed"
UNPRICED = "platform:unpriced"
DISCOUNT = "platform:discount"
OVERSOLD = "platform:oversold"
DIFFERENCE = "platform:difference"

# Kinds: what a line is about. These are a holder's, with time:
HELD, IDLE_HELD, RESERVED, BURST = "held", "idle-held", "reserved", "burst"
FAULTED, OUTAGE, NONBILLABLE = "faulted", "outage", "nonbillable"
WAIVED = frozenset({FAULTED, OUTAGE, NONBILLABLE})
HOLDERS = frozenset({HELD, IDLE_HELD, RESERVED, BURST}) | WAIVED
# These are the platform's, with time:
FREE, UNSOLD, UNPARTITIONED, ROUNDING = "free", "unsold", "unpartitioned", "rounding"
GAP_KIND, UNHEALTHY, CORDONED, EXCESS = "gap", "unhealthy", "cordoned", "excess"
# These move money and have no time of a card: they balance one another.
DISCOUNT_KIND, UNUSED, BACKED, UNBACKED = "discount", "unused", "backed", "unbacked"
TRANSFER, CREDIT, DEBIT = "transfer", "credit", "debit"

# Parts: a charge as it was rated; what takes back a charge of a closed month, and what stands in its place.
CHARGE, REVERSAL, RESTATED = "charge", "reversal", "restated"


@value
class Line:
    """start_ms, end_ms: unix ms. shares: comma-separated share numbers, empty for what is not a share.

    gpu_ms = gpu_ms_num / ms_den is whole-card time; quantity_ms = quantity_ms_num / ms_den is time in the sku's
    unit (a card's or an instance's). A holder's weight does not change within a line, and all shares of a line have
    the same past. list_micros, amount_micros: None where the time has no price.
    unit_price: micros of one unit. parent: the uuid of the card.

    list_hourly, hourly         micros of an hour of the card at its own price; of a unit at the holder's own
    used_num                    the busy part of gpu_ms, over ms_den; None: not known, or more than was held
    gpu_before_num, quantity_before_num, used_before_num
                                per share, over ms_den: the slot's time from the rating interval's start to this
                                line's; used: the same holder's busy part of it. They make a cut exact.
    allocation_micros           what the line costs by what is held; of a holder's lines only, 0 where it is waived
    usage_micros                what it costs by busy time; None where that is not known
    base_unit, base_unit_price, base_quantity_num
                                what unit, unit_price and quantity_ms_num were before a plan changed the price
    of_kind                     of a discount: the kind of the line it belongs to; else ""
    dimensions                  configured labels, as (key, value) in bytewise order of keys
    base                        line_id of the line that this is a part of, before plans and bases; else None
    corrects, corrects_month    the line (or `cluster/node/hour`) that an adjustment is about, and its month; else ""
    """

    cluster: str
    node: str
    hour: int
    day: str
    month: str
    start_ms: int
    end_ms: int
    account: str
    kind: str
    device: str
    parent: str
    model: str
    profile: str | None
    sku: str
    unit: str | None
    unit_price: Fraction | None
    price_version: int
    policy_version: int
    gpu_ms_num: int
    quantity_ms_num: int
    ms_den: int
    list_micros: int | None
    amount_micros: int | None
    shares: str = ""
    namespace: str = ""
    pod: str = ""
    container: str = ""
    claim: str = ""
    cost_center: str | None = None
    team: str | None = None
    tier: str | None = None
    owner_version: int | None = None
    evidence: str = ""
    busy_ms: int | None = None
    memory_byte_seconds: int | None = None
    energy_mj: int | None = None
    resource: str = ""
    dimensions: tuple[tuple[str, str], ...] = ()
    list_hourly: Fraction | None = None
    hourly: Fraction | None = None
    used_num: int | None = None
    gpu_before_num: int = 0
    quantity_before_num: int = 0
    used_before_num: int = 0
    allocation_micros: int | None = None
    usage_micros: int | None = None
    plan_version: int | None = None
    base: str | None = None
    base_unit: str | None = None
    base_unit_price: Fraction | None = None
    base_quantity_num: int | None = None
    of_kind: str = ""
    part: str = CHARGE
    corrects: str = ""
    corrects_month: str = ""

    @property
    def key(self) -> tuple[object, ...]:
        """The natural key, but for the posted month and the part: the same for a charge and its corrections."""
        return (
            self.cluster, self.node, self.hour, self.device, self.shares, self.namespace, self.pod, self.container,
            self.claim, self.kind, self.of_kind, self.start_ms,
        )  # fmt: skip

    @property
    def line_id(self) -> str:
        """A hash of the natural key: the same thing billed again has the same id."""
        key = (*map(str, self.key), self.month, self.part)
        # As a tuple, not joined: no name, whatever is in it, can look like two.
        return blake2b(ascii(key).encode(), digest_size=16).hexdigest()


@value
class Problem:
    """What is wrong with the data of a node-hour, as a value. ms: how much time is concerned."""

    kind: str
    subject: str
    ms: Fraction = Fraction(0)


@cache
def sku_of(model: str, profile: str | None) -> str:
    """`gpu.h100-80gb-hbm3`, `gpu.a100-sxm4-80gb.mig-1g.10gb`: names the thing, never its price or tier."""
    name = model.removeprefix("NVIDIA ").lower()
    slug = "-".join("".join(c if c.isalnum() or c == "." else " " for c in name).split())
    return f"gpu.{slug}" if profile is None else f"gpu.{slug}.mig-{profile}"
