"""One source, two deployments: the folders that file_roots serves become packages of the wheel.

``_utils/vmdk_failover`` is the library, ``_modules`` becomes ``vmdk_failover/modules`` and so on, ``reactor``
becomes ``vmdk_failover/reactor``. Salt finds them by the entry point ``salt.loader`` of pyproject.toml.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
LIBRARY = "vmdk_failover"
FACES = ("modules", "states", "beacons", "runners", "engines", "pillar", "output")


def version() -> str:
    """Return the ``__version__`` of the library, without importing it."""
    source = (HERE / "_utils" / LIBRARY / "__init__.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', source, re.MULTILINE)
    if not found:
        raise SystemExit(f'setup.py: _utils/{LIBRARY}/__init__.py has no line __version__ = "…"; add it')
    return found.group(1)


setup(
    version=version(),
    packages=[
        *find_packages("_utils", include=[LIBRARY, f"{LIBRARY}.*"]),
        *(f"{LIBRARY}.{face}" for face in FACES),
        f"{LIBRARY}.reactor",
        f"{LIBRARY}.orch",
    ],
    package_dir={
        LIBRARY: f"_utils/{LIBRARY}",
        **{f"{LIBRARY}.{face}": f"_{face}" for face in FACES},
        f"{LIBRARY}.reactor": "reactor",
        f"{LIBRARY}.orch": "orch",
    },
    package_data={LIBRARY: ["py.typed"], f"{LIBRARY}.reactor": ["*.sls"], f"{LIBRARY}.orch": ["*.sls"]},
    include_package_data=False,
    zip_safe=False,
)
