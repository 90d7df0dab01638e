"""How `make docs` builds this folder."""

from __future__ import annotations

import re
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_ext"))

project = "saltext-vmdk"
author = "the authors of saltext-vmdk"
copyright = "the authors of saltext-vmdk, Apache License 2.0"
release = version = re.findall(
    r'^__version__ = "(.+)"$', (HERE.parent / "_utils/vmdk_failover/__init__.py").read_text(), re.MULTILINE
)[0]

extensions = ["myst_parser", "saltdoc"]
exclude_patterns = ["_ext", "_static"]
myst_heading_anchors = 3  # links may name headings, as on the forges
myst_enable_extensions = ["tasklist"]

html_theme = "furo"
html_title = f"saltext-vmdk {release}"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_copy_source = False
html_show_sourcelink = False
