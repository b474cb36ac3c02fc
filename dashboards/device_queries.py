"""The PromQL over the agents' metrics: cards, MIG instances, and who holds them. As in queries.py, no panel is known.

One rule holds: a series passes through `max by` its own labels before anything is added up, so that two agents of one
node (an update under way) and two scrapes of one agent count once, whatever labels the scrape has put on.

A *device* is what a pod can hold: a card, a MIG instance, or a share of either, which counts for its part. Device
time is therefore not card time: a 1g instance held all day is one device. What it costs says the ledger.
"""

# An agent's page does not say its cluster: the scrape may, and where it does not, no choice may hide the agent.
PICKED_CLUSTER = 'cluster=~"$cluster|"'
PICKED = f'{PICKED_CLUSTER},node=~"$node",model=~"$model"'
PICKED_HOLDERS = f'{PICKED_CLUSTER},namespace=~"$namespace"'

DEVICE = ("cluster", "node", "uuid", "gpu", "model", "mig_profile", "parent_uuid")
HOLDER = (*DEVICE, "namespace", "pod", "container")
# An agent itself, by where it is scraped: pods of two clusters may have one address.
AGENT = ("cluster", "instance")

CARDS = 'mig_profile=""'
INSTANCES = 'mig_profile!=""'


def once(metric: str, *matchers: str, by: tuple[str, ...] = DEVICE, where: str = PICKED) -> str:
    """A gauge of every device in sight, or whatever `by` says it is of."""
    return f"max by ({', '.join(by)}) ({metric}{{{','.join((where, *matchers))}}})"


def pace(counter: str, *matchers: str, by: tuple[str, ...] = DEVICE, where: str = PICKED) -> str:
    """How fast a counter grows a second: of seconds, a number of devices; of joules, watts."""
    return f"max by ({', '.join(by)}) (rate({counter}{{{','.join((where, *matchers))}}}[$__rate_interval]))"


def while_observed(pace_of_devices: str) -> str:
    """How fast something grows in a second in which its device was observed.

    Counters of an agent grow by whole beats, and a scrape falls between two: by the clock, a device that is held all
    the time is held for 0.9 seconds of one second and for 1.1 of another. By what was observed it is one.
    """
    observed = pace("gpu_observed_seconds_total", where=PICKED_CLUSTER)
    return f"{pace_of_devices} / on ({', '.join(DEVICE)}) group_left () ({observed} > 0)"


def observed_ratio(by: tuple[str, ...]) -> str:
    """The part of the agents' own time, from beat to beat, in which devices and their holders were observed."""
    seen = pace("gpu_observed_seconds_total", by=("instance", *DEVICE))
    beats = agents_pace("gpu_exporter_last_beat_timestamp_seconds")
    of_each = f"{seen} / on ({', '.join(AGENT)}) group_left () ({beats} > 0)"
    return f"avg by ({', '.join(by)}) (max by ({', '.join(DEVICE)}) ({of_each}))"


def held(*matchers: str, by: tuple[str, ...] = (), where: str = PICKED) -> str:
    """Devices held, by labels of the device or of its holder."""
    return total(while_observed(pace("gpu_held_seconds_total", *matchers, by=HOLDER, where=where)), by)


def idle(by: tuple[str, ...] = ()) -> str:
    """Devices that nobody holds."""
    return total(while_observed(pace("gpu_idle_seconds_total")), by)


def held_ratio() -> str:
    """The part of all observed device time that somebody holds: of a fleet that nobody ever held, zero."""
    holding, idling = f"({held()} or 0 * {idle()})", idle()
    return f"{holding} / ({holding} + {idling} > 0)"


def power_of_holders(by: tuple[str, ...] = (), where: str = PICKED) -> str:
    """Watts, of the holders whose part is known."""
    return total(while_observed(pace("gpu_held_energy_joules_total", by=HOLDER, where=where)), by)


def busy_ratio(by: tuple[str, ...] = (), where: str = PICKED) -> str:
    """Busy over held, of the holders whose busy time is known now: the others say nothing, and are left out."""
    known = f"({once('gpu_busy_known', by=HOLDER, where=where)} == 1)"
    seen = [
        total(f"{pace(counter, by=HOLDER, where=where)} and {known}", by)
        for counter in ("gpu_busy_seconds_total", "gpu_held_seconds_total")
    ]
    return f"{seen[0]} / ({seen[1]} > 0)"


def held_and_idle(by: tuple[str, ...] = (), where: str = PICKED) -> str:
    """Devices held while no process keeps them busy, of the holders whose busy time is known now."""
    known = f"({once('gpu_busy_known', by=HOLDER, where=where)} == 1)"
    holding, working = (
        pace(counter, by=HOLDER, where=where) for counter in ("gpu_held_seconds_total", "gpu_busy_seconds_total")
    )
    return total(f"{while_observed(f'({holding} - {working})')} and {known}", by)


def missing_cards(by: tuple[str, ...] = ()) -> str:
    """Cards that were seen, or that the driver or the bus lists, whichever are most, less those that answer."""
    where = f'{PICKED_CLUSTER},node=~"$node"'
    of_node = ("cluster", "node")
    expected = once("gpu_exporter_expected_gpus", by=of_node, where=where)
    answering = once("gpu_exporter_answering_gpus", by=of_node, where=where)
    return total(f"{expected} - {answering}", by)


def device_memory_of_holders() -> str:
    """Memory in use on each device that somebody holds; who shares a device sees all of it."""
    on = ("cluster", "node", "uuid")
    used = once("gpu_memory_used_bytes", by=on, where=PICKED_CLUSTER)
    holders = once("gpu_held_info", by=(*on, "namespace", "pod", "container"), where=PICKED_HOLDERS)
    return f"{holders} * on ({', '.join(on)}) group_left () {used}"


def total(expr: str, by: tuple[str, ...] = ()) -> str:
    return f"sum by ({', '.join(by)}) ({expr})" if by else f"sum({expr})"


def of_agents(metric: str, *matchers: str, by: tuple[str, ...] = ()) -> str:
    """A gauge of each agent itself."""
    return f"max by ({', '.join((*AGENT, *by))}) ({metric}{{{','.join((PICKED_CLUSTER, *matchers))}}})"


def in_last_hour(counter: str, *matchers: str, by: tuple[str, ...] = DEVICE, where: str = PICKED) -> str:
    """How much a counter of rare things grew in the last hour: at the pace of a minute one of them would be sixty."""
    return f"max by ({', '.join(by)}) (increase({counter}{{{','.join((where, *matchers))}}}[1h]))"


def agents_pace(counter: str, *matchers: str, by: tuple[str, ...] = ()) -> str:
    """How fast a counter of each agent itself grows a second."""
    rate = f"rate({counter}{{{','.join((PICKED_CLUSTER, *matchers))}}}[$__rate_interval])"
    return f"max by ({', '.join((*AGENT, *by))}) ({rate})"


def values_of(label: str, *matchers: str) -> str:
    """The query of a dashboard variable: each value of a label of the cards there are."""
    return f"label_values(gpu_info{{{','.join(matchers)}}}, {label})"
