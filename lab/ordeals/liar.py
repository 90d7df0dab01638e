"""A minion that lies: sends events of its own choice over its own channel. python -m lab.ordeals.liar CONFDIR JSON"""

from __future__ import annotations

import json
import sys
from typing import Any


def tell(conf: str, lies: list[dict[str, Any]]) -> None:
    """Send them, each alone and all together in the form of a beacon's, whose content is free.

    conf: the directory of the minion's configuration. lies: tag and data of each.
    """
    import salt.channel.client
    import salt.config
    import salt.minion

    opts = salt.config.minion_config(f"{conf}/minion")
    opts.update(salt.minion.resolve_dns(opts))
    channel = salt.channel.client.ReqChannel.factory(opts)
    load = {"id": opts["id"], "cmd": "_minion_event", "tok": channel.auth.gen_token(b"salt")}
    channel.send({**load, "events": lies}, timeout=10, tries=1)
    for one in lies:
        channel.send({**load, **one}, timeout=10, tries=1)
    channel.close()


if __name__ == "__main__":
    tell(sys.argv[1], json.loads(sys.argv[2]))
