"""What the tests of this folder share: one known warning kept quiet."""

import importlib
import warnings

# The SDK calls its classic models deprecated, on import. Classic is what every Grafana imports and what the
# sidecars provision, so we stay with it; the first import happens here, where the warning can be let pass.
with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="Prefer using dashboardv2", category=DeprecationWarning)
    importlib.import_module("dashboards.build")
