"""What the lab's Salt daemons are told: configuration as plain data, and the product's files where a sync puts them."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.cellinit import PLACE
from lab.faultdisk import ROOT
from lab.node import Identity

FOLDERS = (
    "_modules",
    "_states",
    "_beacons",
    "_runners",
    "_engines",
    "_pillar",
    "_output",
    "_utils",
    "reactor",
    "orch",
)
#: What a master serves beside a wheel: state runs would sync the rest, and that is the other way in.
SERVED_BESIDE_A_WHEEL = ("reactor", "orch")
ON_MINIONS = ("modules", "states", "beacons", "engines", "output", "utils")
ON_MASTER = (*ON_MINIONS, "runners", "pillar")
MINION_ROOT = f"{PLACE}/salt"
TRIGGER = "/proc/sysrq-trigger"

Conf = dict[str, Any]


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> Conf:
    """`base` with what `more` says; where both have a mapping, the two are merged as well."""
    result = dict(base)
    for key, value in more.items():
        inner = result.get(key)
        result[key] = (
            merged(inner, value) if isinstance(inner, dict) and isinstance(value, Mapping) else value
        )
    return result


def master_conf(root: Path, file_root: Path) -> Conf:
    """The master's configuration. root: its root_dir. file_root: what it serves."""
    return {
        "root_dir": str(root),
        "pki_dir": str(root / "pki"),
        "extension_modules": str(root / "extmods"),
        "user": "root",
        "interface": "127.0.0.1",
        "open_mode": True,
        "auto_accept": True,
        "file_roots": {"base": [str(file_root), str(ROOT / "lab" / "salt")]},
        "pillar_roots": {"base": [str(root / "pillar")]},
        "file_ignore_regex": ["/__pycache__/"],
        "worker_threads": 3,
        "reactor_refresh_interval": 3600,
        "reactor_worker_threads": 10,
        "gather_job_timeout": 10,
        "timeout": 5,
        "keep_jobs_seconds": 3600,
        "log_level_logfile": "info",
        "log_file": str(root / "master.log"),
        "enforce_mine_cache": False,
        "mine_enabled": False,
        "disable_grains": ["lvm"],  # it runs vgs, which hangs with a hung disk
        "vmdk": {"resources_dir": str(root / "vmdk.d")},
    }


def minion_conf(identity: Identity) -> Conf:
    """The configuration of a node's minion."""
    # all of the lab reaches the master by the loopback address; that of a node is the one that goes with it
    settings: Conf = {"vmdk": {"address": identity.address}}
    if not os.path.exists(TRIGGER):
        settings["vmdk"]["sysrq_path"] = f"{PLACE}/sysrq"
    return {
        "root_dir": MINION_ROOT,
        "pki_dir": f"{MINION_ROOT}/pki",
        "extension_modules": f"{MINION_ROOT}/extmods",
        "user": "root",
        "id": identity.minion_id,
        "master": "127.0.0.1",
        "grains": {"uuid": identity.uuid, "lab_address": identity.address},
        "module_dirs": [str(ROOT / "lab" / "salt")],
        "providers": {"service": "labservice"},
        "multiprocessing": True,
        "mine_enabled": False,
        "disable_grains": ["lvm"],  # it runs vgs, which hangs with a hung disk
        "enable_fqdns_grains": False,
        "enable_gpu_grains": False,
        "acceptance_wait_time": 1,
        "auth_timeout": 3,
        "random_reauth_delay": 1,
        "recon_default": 100,
        "recon_max": 500,
        "return_retry_timer": 1,
        "return_retry_timer_max": 2,
        "tcp_keepalive_idle": 5,
        "tcp_keepalive_intvl": 2,
        "tcp_keepalive_cnt": 3,
        "log_level_logfile": "info",
        "log_file": f"{MINION_ROOT}/minion.log",
        **settings,
    }


def write_conf(directory: Path, name: str, conf: Conf) -> None:
    """Write a daemon's configuration file (JSON is YAML)."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_text(json.dumps(conf, indent=1), encoding="utf-8")
    path.chmod(0o600)


def is_installed() -> bool:
    """Whether this Python has the product as a wheel; then the daemons use that, and no files are synced."""
    # not anywhere on sys.path: a build leaves an .egg-info beside the source
    where = [sysconfig.get_path("purelib")]
    return any(importlib.metadata.distributions(name="saltext-vmdk", path=where))


def make_file_root(directory: Path) -> Path:
    """A directory that shows the product's folders and nothing else of the repository."""
    directory.mkdir()
    for name in SERVED_BESIDE_A_WHEEL if is_installed() else FOLDERS:
        if (ROOT / name).is_dir():
            (directory / name).symlink_to(ROOT / name)
    return directory


def place_files(extmods: Path, kinds: tuple[str, ...]) -> None:
    """Put the product's files where `saltutil.sync_all` puts them, so that daemons have them at their first start."""
    for kind in () if is_installed() else kinds:
        source = ROOT / f"_{kind}"
        if source.is_dir():
            shutil.copytree(
                source, extmods / kind, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
            )
