"""Reads keys as a Python program that uses a fleet does: a quarter one at a time, the others 75 at once.

    read.py MODULE SETTINGS KEYS SERVER...

MODULE is the client's, SETTINGS its options as JSON, KEYS a file with a key in each line, SERVER an address
(host:port or unix:/path) and a weight, with a space between. Prints a line for each key: the value in hexadecimal
digits, or '-' if there is none.
"""

import importlib
import json
import sys


def pylibmc(module, servers, settings):
    specs = [a.removeprefix("unix:") if a.startswith("unix:") else f"{a}:{weight}" for a, weight in servers]
    return module.Client(specs, behaviors=settings)


def memcache(module, servers, settings):
    return module.Client([(address, int(weight)) for address, weight in servers], **settings)


def pymemcache(module, servers, settings):
    assert all(weight == "1" for _, weight in servers), "HashClient has no weights"
    return module.HashClient([address for address, _ in servers], **settings)


def main(name, settings, keys, *servers):
    module = importlib.import_module("pymemcache.client.hash" if name == "pymemcache" else name)
    client = globals()[name](module, [server.split(" ") for server in servers], json.loads(settings))
    with open(keys, encoding="utf-8", newline="\n") as lines:
        keys = lines.read().split("\n")
    for first in range(0, len(keys), 100):
        alone, together = keys[first : first + 25], keys[first + 25 : first + 100]
        values = [client.get(key) for key in alone]
        found = client.get_multi(together) if together else {}
        for value in values + [found.get(key) for key in together]:
            print("-" if value is None else value.hex())


main(*sys.argv[1:])
