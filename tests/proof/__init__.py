"""The proof: the bill held against what really ran on a real node. Start at `__main__.py`.

stage       `scenarios/*.yaml` → `reading` → `scenario` → `schedule` → `runner` → `actions` and `faults`, which act
            upon the `stage`: its `driver`, `plugin`, `aggregator`, `books`; `workloads` are what the API is given
witness     `watching` and `lives` → `witness` → `testimony`; `sharing`, `courses`, `tariff`, `reckoning` work it out
comparison  `export`, `matching` and `pasts` → `case` → the `…_checks` → `comparison`; `outcome` and `report` show it
replay      `record` and `recorders` → `recording`, as it is or `rewritten` → `replay` between the `heard_…`, on a
            `virtual_clock` → `trials` with `closings` and `rewritten_trials`, and `laws` → `verdict` on `mutants`
"""
