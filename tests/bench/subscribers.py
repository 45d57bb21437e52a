#!/usr/bin/env python3
"""Idle subscribers of one gateway: its memory, and how soon an event is with those that it is for (subscribers.c).

  subscribers.py BUILD_DIR    environment: SUBSCRIBERS (10000), MATCHING (1000), EVENTS (100)

One line for each kind of stream, on a cluster of its own; fails past 400 MiB or 50 ms (99th percentile)."""
import os
import subprocess
import sys

from bench import BUILD, Cluster

RESIDENT_MIB_MAX = 400
P99_MS_MAX = 50


def measure(kind):
    cluster = Cluster()
    try:
        command = [f'{BUILD}/bench-subscribers', '127.0.0.1', str(cluster.port), *cluster.files, kind]
        command += [os.environ.get(name) or default for name, default in
                    (('SUBSCRIBERS', '10000'), ('MATCHING', '1000'), ('EVENTS', '100'))]
        command.append(str(cluster.pids['gateway-1']))
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        print(f'bench subscribers kind={kind} {out.removeprefix("RESULT ").strip()}', flush=True)
        values = dict(pair.split('=') for pair in out.split()[1:])
        return float(values['rss_after_mib']) <= RESIDENT_MIB_MAX and float(values['p99_ms']) <= P99_MS_MAX
    finally:
        cluster.close()


if __name__ == '__main__':
    sys.exit(0 if all([measure('websocket'), measure('events')]) else 1)
