"""What every test may rely on: the library as file_roots serves it, and the lab, can be imported."""

import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

for place in (ROOT, ROOT / "_utils"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

# how long an example takes is the machine's affair, not the code's
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")
