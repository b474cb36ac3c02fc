"""What no panel can show on the demo, by page, panel and legend, with the reason.

Each is shown by a test of its own, on a page that has it.
"""

_NEEDS_PODS = "the demo has no cluster API, so it knows no pods, events or nodes"
_NEEDS_TWO_METERS = "the demo has no cluster API, so there is no second meter to differ from"

_KEY = "{{cluster}} {{namespace}} {{resourcequota}} {{resource}}"

EMPTY_ON_THE_DEMO = {
    ("GPU quotas", "Refused workloads", "Refused workloads"): _NEEDS_PODS,
    ("GPU quotas", "Waiting pods", "Waiting pods"): _NEEDS_PODS,
    ("GPU quotas", "Quota use", "Own count"): _NEEDS_PODS,
    ("GPU quotas", "Refused by a quota", _KEY): _NEEDS_PODS,
    ("GPU quotas", "Waiting for a node", "{{cluster}} {{namespace}}"): _NEEDS_PODS,
    ("GPU fleet", "Nodes without an agent", "{{cluster}} {{node}} devices"): _NEEDS_PODS,
    ("GPU fleet", "Nodes without an agent", "{{cluster}} {{node}} pods"): _NEEDS_PODS,
    ("Chargeback service", "Nodes without an agent", "{{cluster}} {{node}} devices"): _NEEDS_PODS,
    ("Chargeback service", "Nodes without an agent", "{{cluster}} {{node}} pods"): _NEEDS_PODS,
    ("Chargeback service", "Difference of the two meters", "{{cluster}} {{kind}}"): _NEEDS_TWO_METERS,
    ("Chargeback service", "Problems", "{{cluster}} {{kind}}"): "nothing is wrong with the demo's data",
}

# Of these nothing is there for a month's first three days.
EMPTY_AT_FIRST = {"chargeback_budget_forecast"}
