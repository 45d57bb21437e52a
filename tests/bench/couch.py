#!/usr/bin/env python3
"""What the CouchDB dialect costs beside the native one: CPU time of all server processes.

  couch.py BUILD_DIR       environment: D seconds a run (4), CONN connections (32), RUNS (3)

One line an operation, fails past the limits below:
  bench <operation> cpu_us=<n> limit_us=<n> ratio=<n> ...
(limit_us is the native dialect's; of bulk documents cpu_us is per document, with its three replicas)"""
import sys

sys.dont_write_bytecode = True
import bench  # beside this file

RATIO_MAX = 1.7
BULK_US_MAX = 70


def main():
    cluster = bench.Cluster()
    held = True
    try:
        pids = list(cluster.pids.values())
        couch = int(cluster.env['PARLEY_COUCH_URL'].rsplit(':', 1)[1])
        bench.load(cluster.port, '/read', 'fill', 30, cluster.files)
        for collection in ('native', 'couch', 'bulk'):
            bench.curl(cluster, '/_/collections', '-X', 'POST', '-H', 'Content-Type: application/json',
                       '-d', '{"name":"' + collection + '"}')
        runs, bench.RUNS = bench.RUNS, 1
        for op, names in (('put', ('native', 'couch')), ('get', ('read', 'read'))):
            pairs = []
            for _ in range(runs):  # in turn, as the machine may have other work
                native = bench.measure(pids, cluster.port, '/' + names[0], op, cluster.files)
                pairs.append((bench.measure(pids, couch, '/' + names[1], op, cluster.files), native))
            r, native = sorted(pairs, key=lambda pair: pair[0]['cpu_us'] / pair[1]['cpu_us'])[runs // 2]
            bench.line('couch-' + op, r, native)
            held = held and r['cpu_us'] <= RATIO_MAX * native['cpu_us']
        bench.RUNS = runs
        r = bench.measure(pids, couch, '/bulk', 'bulk', cluster.files, 4)
        bench.line('couch-bulk-500', r, None, bench.BATCH)
        held = held and r['cpu_us'] <= BULK_US_MAX * bench.BATCH
    finally:
        cluster.close()
    sys.exit(0 if held else 1)


if __name__ == '__main__':
    main()
