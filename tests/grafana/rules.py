#!/usr/bin/env python3
"""Looks at rule files that highwater wrote.

  rules.py links DIR           every runbook_url in DIR leads to a section of DIR/runbook.md
  rules.py served URL FOLDER   the server at URL runs all rules of FOLDER without an error; asks until it does
"""
import glob
import json
import sys
import time
import urllib.request

import yaml


def rules(folder):
    for name in sorted(glob.glob(f"{folder}/**/*.yaml", recursive=True)):
        with open(name) as file:
            for group in (yaml.safe_load(file) or {}).get("groups", []):
                yield from group["rules"]


def links(directory):
    with open(f"{directory}/runbook.md") as file:
        runbook = file.read()
    missing, found = set(), 0
    for rule in rules(f"{directory}/rules"):
        section = rule.get("annotations", {}).get("runbook_url", "#").rsplit("#", 1)[1]
        found += 1
        if section != "{{ $labels.rule }}" and f'<a id="{section}"></a>' not in runbook:
            missing.add(f"{rule['alert']}: {section!r}")
    print(f"{found} rules lead to their section of the runbook")
    return not missing or print(*sorted(missing), sep="\n")


def served(server, folder):
    wanted = sorted(rule["alert"] for rule in rules(folder) if "alert" in rule)
    # Not through a proxy.
    ask = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
    said, give_up = "nothing", time.monotonic() + 60
    while time.monotonic() < give_up:
        try:
            with ask(f"{server}/api/v1/rules") as answer:
                groups = json.load(answer)["data"]["groups"]
        except OSError as why:
            said = why
        else:
            running = [rule for group in groups for rule in group["rules"]]
            wrong = [f"{rule['name']}: {rule['lastError']}" for rule in running if rule.get("lastError")]
            names = sorted(rule["name"] for rule in running)
            evaluated = all(rule.get("health") == "ok" for rule in running)
            if wrong:
                return print(*wrong, sep="\n")
            if names == wanted and evaluated:
                print(f"{server} runs {len(names)} rules")
                return True
            said = f"{len(names)} of {len(wanted)} rules, all evaluated: {evaluated}"
        time.sleep(0.2)
    return print(f"{server}: {said}")


if __name__ == "__main__":
    sys.exit(0 if {"links": links, "served": served}[sys.argv[1]](*sys.argv[2:]) else 1)
