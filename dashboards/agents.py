"""The row of the dashboard "Chargeback service" about the agents: who is silent, what they keep, what they cost."""

from collections.abc import Iterator

from dashboards import device_queries as dq
from dashboards import queries as q
from dashboards.page import Placed
from dashboards.panels import BYTES, COUNT, RATIO, SECONDS, Query, line_panel

AGENT = "{{cluster}} {{instance}}"
# Only agents: many programs have metrics of these names.
IS_AGENT = f"and on ({', '.join(dq.AGENT)}) {dq.of_agents('gpu_exporter_build_info')}"


def agents() -> Iterator[Placed]:
    """An agent is named by where it is scraped."""
    description = "Seconds since each node's agent last pushed. A node that stays silent becomes gap."
    ages = (Query(expr=f"topk(20, {q.push_age_s()})", legend="{{cluster}} {{node}}"),)
    yield Placed(panel=line_panel("Push age of the 20 stalest nodes", description, SECONDS, ages), width=8, height=8)
    description = (
        "Finished node-hours that the aggregator has not acknowledged; and those of the last hour that are gone for "
        "good: refused for ever, or lost because neither disk nor memory had room."
    )
    kept = (
        Query(expr=dq.of_agents("gpu_exporter_spool_bodies"), legend=f"waiting {AGENT}"),
        *(
            Query(
                expr=dq.in_last_hour(f"gpu_exporter_{name}_bodies_total", by=dq.AGENT, where=dq.PICKED_CLUSTER),
                legend=f"{name} in an hour {AGENT}",
            )
            for name in ("refused", "lost")
        ),
    )
    yield Placed(panel=line_panel("Node-hours that agents keep", description, COUNT, kept), width=8, height=8)
    description = "Size of the spool on disk. It may grow to 256 MiB, which years of hours that wait do not fill."
    lines = (Query(expr=dq.of_agents("gpu_exporter_spool_bytes"), legend=AGENT),)
    yield Placed(panel=line_panel("Spool", description, BYTES, lines), width=8, height=8)
    description = "Answers to pushes an hour, of all agents: taken, refused for good, or failed so far."
    pushes = dq.agents_pace("gpu_exporter_pushes_total", by=("result",))
    lines = (Query(expr=f"sum by (result) ({pushes}) * 3600", legend="{{result}}"),)
    yield Placed(panel=line_panel("Pushes", description, COUNT, lines), width=8, height=8)
    description = "Agents whose collector failed in their last beat, by collector. What it reads is unknown then."
    failed = dq.of_agents("gpu_exporter_collector_success", by=("collector",))
    lines = (Query(expr=f"sum by (collector) (1 - {failed})", legend="{{collector}}"),)
    yield Placed(panel=line_panel("Failed collectors", description, COUNT, lines), width=8, height=8)
    description = "How long the slowest agent's collectors took in the last beat."
    slow = dq.of_agents("gpu_exporter_collector_duration_seconds", by=("collector",))
    lines = (Query(expr=f"max by (collector) ({slow})", legend="{{collector}}"),)
    yield Placed(panel=line_panel("Time of collectors", description, SECONDS, lines), width=8, height=8)
    description = "How long ago each agent's last beat began: the age of all that it says."
    beats = dq.of_agents("gpu_exporter_last_beat_timestamp_seconds")
    lines = (Query(expr=f"topk(20, time() - {beats})", legend=AGENT),)
    yield Placed(panel=line_panel("Age of the last beat", description, SECONDS, lines), width=8, height=8)
    description = "Memory of the agents that need most."
    memory = dq.of_agents("process_resident_memory_bytes")
    lines = (Query(expr=f"topk(10, {memory} {IS_AGENT})", legend=AGENT),)
    yield Placed(panel=line_panel("Memory of agents", description, BYTES, lines), width=8, height=8)
    description = "The part of one core that the busiest agents need."
    cpu = dq.agents_pace("process_cpu_seconds_total")
    lines = (Query(expr=f"topk(10, {cpu} {IS_AGENT})", legend=AGENT),)
    yield Placed(panel=line_panel("CPU of agents", description, RATIO, lines), width=8, height=8)
