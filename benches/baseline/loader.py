#!/usr/bin/python3
"""The old way to load a log, to be measured: one thread, and for each record a message, a new client and a set.

Scripts of this kind are what memc-load replaces. It stands in for them as they are, slow parts included.
"""

import argparse
import glob
import gzip
import logging
import os

import memcache

import appsinstalled_pb2

NORMAL_ERROR_RATE = 0.01


def parse(line):
    """The device type, the device id and the message of a line; None for a bad one."""
    fields = line.strip().split("\t")
    if len(fields) != 5 or not fields[0] or not fields[1]:
        return None
    device_type, device_id, lat, lon, apps = fields
    message = appsinstalled_pb2.UserApps()
    try:
        message.lat = float(lat)
        message.lon = float(lon)
    except ValueError:
        return None
    message.apps.extend(int(app) for app in apps.split(",") if app.strip().isdigit())
    return device_type, device_id, message


def store(address, device_type, device_id, message):
    """Whether the server has taken the message."""
    key = "%s:%s" % (device_type, device_id)
    return memcache.Client([address]).set(key, message.SerializeToString())


def load(path, servers):
    """Loads one log and gives its name a leading dot."""
    loaded = rejected = 0
    with gzip.open(path, "rt") as lines:
        for line in lines:
            if not line.strip():
                continue
            record = parse(line)
            if record and record[0] in servers and store(servers[record[0]], *record):
                loaded += 1
            else:
                rejected += 1
    if loaded and rejected / loaded < NORMAL_ERROR_RATE:
        logging.info("%s: %d records, %d rejected", path, loaded, rejected)
    else:
        logging.error("%s: %d records, %d rejected: high error rate", path, loaded, rejected)
    folder, name = os.path.split(path)
    os.rename(path, os.path.join(folder, "." + name))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--pattern", required=True)
    device_types = "idfa", "gaid", "adid", "dvid"
    for device_type in device_types:
        arguments.add_argument("--" + device_type, required=True, metavar="ADDR")
    options = arguments.parse_args()
    logging.basicConfig(level=logging.INFO)
    servers = {device_type: getattr(options, device_type) for device_type in device_types}
    for path in sorted(glob.glob(options.pattern)):
        load(path, servers)


if __name__ == "__main__":
    main()
