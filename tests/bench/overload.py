#!/usr/bin/env python3
"""Twice the load that a cluster can bear, for minutes: what is accepted, how fast, and what becomes of memory.

  overload.py BUILD_DIR    environment: D seconds of overload (180), OPS (put get)

The daemons have one core, the load another: what it costs itself must not be counted. For each operation the peak of
closed loops is found - over runs long enough to hold their share of compaction, which some seconds of an empty store
do not - then twice that rate falls due whatever becomes of it (load.c), then half the peak. One line:
  overload <operation> peak=<n> goodput=<share of the peak> p99_ms=<n> refused=<n> other=<n> lost=<n> recovery_s=<n>
    daemons_cores=<processors that the daemons used> load_cores=<likewise: near 1 the load was the limit, not the daemons>
and one for each daemon's memory. Fails unless goodput is at least 0.8, p99 of what was accepted
within 2 s, every refusal a 429 or 503 with Retry-After, memory bounded, and all is well within 5 s of the end."""
import os
import re
import resource
import subprocess
import sys
import threading
import time

from bench import BUILD, Cluster, cpu_seconds, load, resident_mib

OVERLOAD_S = int(os.environ.get('D') or '180')
OPS = (os.environ.get('OPS') or 'put get').split()
PEAK_S = 40
AFTER_S = 20
CONNECTIONS = 2000
GOODPUT_MIN = 0.8
P99_MS_MAX = 2000
CALM_MS = 500  # a second whose p99 is below this, with no refusal, is one of a cluster that has recovered
RECOVERY_S_MAX = 5
GROWTH_MIB_MAX = 512  # of one daemon, over what it had at the peak


def peak(cluster, op):
    """Requests a second of closed loops: the most that any number of connections reaches."""
    runs = [load(cluster.port, '/bench', op, PEAK_S, cluster.files, n) for n in (64, 256)]
    return max((r['n'] - r['errors']) / r['seconds'] for r in runs)


def children_cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def open_load(cluster, op, rate, seconds):
    """The outcome of each second, and of all."""
    command = [f'{BUILD}/bench-load', '127.0.0.1', str(cluster.port), '/bench', op, str(CONNECTIONS), str(seconds),
               *cluster.files, str(int(rate))]
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = [{k: float(v) for k, v in re.findall(r'(\w+)=([\d.]+)', line)} for line in out.splitlines()]
    return lines[:-1], lines[-1]


class Memory(threading.Thread):
    """The most that each daemon was seen to have."""

    def __init__(self, pids):
        super().__init__(daemon=True)
        self.pids = pids
        self.most = {name: 0 for name in pids}
        self.going = True

    def run(self):
        while self.going:
            for name, pid in self.pids.items():
                self.most[name] = max(self.most[name], resident_mib(pid))
            time.sleep(0.5)


def is_calm(second):
    return second['refused'] + second['other'] == 0 and second['p99_ms'] < CALM_MS


def recovery(seconds):
    """Seconds until all that follow are calm."""
    calm = [is_calm(s) for s in seconds]
    return len(calm) - next((i for i, good in enumerate(reversed(calm)) if not good), len(calm))


def overload(cluster, op):
    most = peak(cluster, op)
    before = cluster.resident()
    memory = Memory(cluster.pids)
    memory.start()
    began = cpu_seconds(cluster.pids.values()), children_cpu_seconds()
    _, all_of = open_load(cluster, op, 2 * most, OVERLOAD_S)
    daemons = (cpu_seconds(cluster.pids.values()) - began[0]) / OVERLOAD_S
    generator = (children_cpu_seconds() - began[1]) / OVERLOAD_S
    after, calm = open_load(cluster, op, most / 2, AFTER_S)
    memory.going = False
    goodput = all_of['ok'] / OVERLOAD_S / most
    seconds = recovery(after)
    print(f'overload {op} peak={most:.0f} goodput={goodput:.2f} p50_ms={all_of["p50_ms"]:.0f} p99_ms={all_of["p99_ms"]:.0f} '
          f'refused={all_of["refused"]:.0f} other={all_of["other"]:.0f} unsent={all_of["unsent"]:.0f} '
          f'lost={all_of["lost"]:.0f} recovery_s={seconds} after_p99_ms={calm["p99_ms"]:.0f} '
          f'daemons_cores={daemons:.2f} load_cores={generator:.2f}', flush=True)
    for i, second in enumerate(after):
        if not is_calm(second):
            print(f'overload {op} not calm: second={i + 1} {second}', flush=True)
    good = (goodput >= GOODPUT_MIN and all_of['p99_ms'] <= P99_MS_MAX and all_of['other'] == 0 and all_of['lost'] == 0
            and seconds <= RECOVERY_S_MAX)
    for name, mib in memory.most.items():
        print(f'overload {op} memory daemon={name} before_mib={before[name]:.0f} most_mib={mib:.0f}', flush=True)
        good = good and mib <= before[name] + GROWTH_MIB_MAX
    return good


def apart(cluster):
    """Daemons on the first core, this process and the loads that it starts on the second."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print('note: one core alone: the load competes with what it measures', flush=True)
        return
    for pid in cluster.pids.values():
        for task in os.listdir(f'/proc/{pid}/task'):
            os.sched_setaffinity(int(task), cores[:1])
    os.sched_setaffinity(0, cores[1:2])


def main():
    cluster = Cluster()
    try:
        apart(cluster)
        load(cluster.port, '/bench', 'fill', 30, cluster.files)
        results = [overload(cluster, op) for op in OPS]
    finally:
        cluster.close()
    sys.exit(0 if all(results) else 1)


if __name__ == '__main__':
    main()
