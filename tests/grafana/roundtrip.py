#!/usr/bin/env python3
"""Reads dashboards with grafana-foundation-sdk and writes them again: what an SDK that nobody here wrote does not know,
or understands otherwise, is lost or changed. Defaults that it adds are its own business.

  roundtrip.py FILE…
"""
import json
import re
import sys

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

# Fields that Grafana reads and the SDK's models lack.
UNKNOWN_TO_THE_SDK = [
    r"/annotations/list/\d+/(builtIn|step|tagKeys|textFormat|titleFormat|useValueForTime)",
    r"/preload",
    r"/templating/list/\d+/definition",
]


def differences(before, after, path=""):
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key in after:
                yield from differences(value, after[key], f"{path}/{key}")
            else:
                yield f"{path}/{key}", "lost"
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for at, (one, other) in enumerate(zip(before, after)):
            yield from differences(one, other, f"{path}/{at}")
    elif before != after:
        yield path, f"{before!r} became {after!r}"


failed = False
for name in sys.argv[1:]:
    with open(name) as file:
        text = json.load(file)
    again = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(text)))
    wrong = [(path, what) for path, what in differences(text, again)
             if not any(re.fullmatch(known, path) for known in UNKNOWN_TO_THE_SDK)]
    print(name, "survives" if not wrong else f"{len(wrong)} differences")
    for path, what in wrong[:12]:
        print("   ", path, what)
    failed |= bool(wrong)
sys.exit(failed)
