"""What every test may rely on: the library as file_roots serves it, and the lab, can be imported."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

for place in (ROOT, ROOT / "_utils"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))
