#!/usr/bin/env python3
"""CPU time per operation of Parley and, where their folder is at hand, of bare prototypes on the same libraries.

  bench.py BUILD_DIR [LIMITS_DIR]        environment: D seconds a run (4), CONN connections (32), RUNS (3)

Starts 1 coordinator, 3 storage nodes, 1 gateway and 1 arbiter with TLS, client certificates, CURVE and synced
writes, and loads them with load.c; CPU time is that of all server processes. One line an operation:
  bench <operation> cpu_us=<n> limit_us=<n> ratio=<n> ops_s=<n> p50_ms=<n> p99_ms=<n>
(of a batch cpu_us and ops_s are per document; limit_us and ratio are 0 where there is no prototype of it).
Queries over the cities of the world: query-unindexed is per document read, query-indexed finds 10 of them."""
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.path.abspath(sys.argv[1])
LIMITS = os.path.abspath(sys.argv[2]) if len(sys.argv) > 2 else ''
D = int(os.environ.get('D') or '4')
CONN = int(os.environ.get('CONN') or '32')
RUNS = int(os.environ.get('RUNS') or '3')
BATCH = 500
IDLE_S = 10


def cpu_seconds(pids):
    total = 0
    for pid in pids:
        for task in os.listdir(f'/proc/{pid}/task'):
            try:
                with open(f'/proc/{pid}/task/{task}/schedstat') as f:
                    total += int(f.read().split()[0])
            except OSError:
                pass
    return total / 1e9


def resident_mib(pid):
    with open(f'/proc/{pid}/status') as f:
        return int(re.search(r'VmRSS:\s+(\d+)', f.read())[1]) / 1024


def load(port, prefix, op, seconds, files, connections=CONN):
    command = [f'{BUILD}/bench-load', '127.0.0.1', str(port), prefix, op, str(connections), str(seconds)] + files
    out = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    return {k: float(v) for k, v in re.findall(r'(\w+)=([\d.]+)', out)}


def measure(pids, port, prefix, op, files, connections=CONN):
    """The run with the median CPU time of RUNS."""
    runs = []
    for _ in range(RUNS):
        before = cpu_seconds(pids)
        r = load(port, prefix, op, D, files, connections)
        r['cpu_us'] = (cpu_seconds(pids) - before) / max(r['n'], 1) * 1e6
        r['ops_s'] = r['n'] / r['seconds']
        if r['errors']:
            print(f'note: {op}: {int(r["errors"])} of {int(r["n"])} answers were errors', flush=True)
        runs.append(r)
    return sorted(runs, key=lambda r: r['cpu_us'])[len(runs) // 2]


def wait_port(port):
    deadline = time.time() + 10
    while time.time() < deadline:
        try:
            socket.create_connection(('127.0.0.1', port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    sys.exit(f'nothing listens on port {port}')


def prototypes():
    """{operation: result} of the bare data path; empty without it."""
    if not os.path.exists(f'{LIMITS}/build.sh'):
        print('no prototypes at hand: limit_us and ratio are 0', flush=True)
        return {}
    out = tempfile.mkdtemp(prefix='parley-limits-')
    started = []
    try:
        subprocess.run(['sh', f'{LIMITS}/build.sh', out], check=True, stdout=subprocess.DEVNULL)
        port = 18110
        os.makedirs(f'{out}/pdb')
        for i in range(3):
            started.append(subprocess.Popen(
                ['./proto_store', f'tcp://127.0.0.1:{port - 10 + i}', f'pdb/{i}', '1', '1'],
                cwd=out, stderr=subprocess.DEVNULL))
        started.append(subprocess.Popen(['./proto_gw', str(port), 'B', '1', '1', '1', '1'], cwd=out,
                                        stderr=subprocess.DEVNULL))
        wait_port(port)
        pids = [p.pid for p in started]
        load(port, '', 'fill', 20, [])
        load(port, '', 'put', 1, [])
        result = {op: measure(pids, port, '', op, []) for op in ('put', 'get')}
        result['put-1'] = measure(pids, port, '', 'put', [], connections=1)
        return result
    finally:
        for p in started:
            p.send_signal(signal.SIGKILL)
            p.wait()
        shutil.rmtree(out, ignore_errors=True)


class Cluster:
    names = ['coordinator-1', 'storage-1', 'storage-2', 'storage-3', 'arbiter-1', 'gateway-1']

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='parley-bench-')
        place = random.Random()
        self.run('--nodes', '3', '--gateways', '1', '--arbiters', '1', '--port-base', str(12000 + 100 * place.randrange(180)),
                 '--net', f'127.{place.randrange(10, 240)}.{place.randrange(10, 240)}', '--build', BUILD, 'up')
        self.pids = {n: int(self.run('pid', n).split()[-1]) for n in self.names}
        with open(f'{self.dir}/env') as f:
            self.env = dict(re.findall(r"(PARLEY_\w+)=['\"]?([^'\"\n]*)", f.read()))
        self.port = int(self.env['PARLEY_URL'].rsplit(':', 1)[1])
        self.files = [self.env['PARLEY_CA'], self.env['PARLEY_CERT'], self.env['PARLEY_KEY']]

    def run(self, *args):
        command = [f'{ROOT}/deploy/dev-cluster', '--dir', self.dir, *args]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            sys.exit(f'{" ".join(command)}:\n{done.stdout}')
        return done.stdout

    def resident(self):
        return {n: resident_mib(p) for n, p in self.pids.items()}

    def close(self):
        self.run('down')
        shutil.rmtree(self.dir, ignore_errors=True)


def line(name, r, limit, per=1):
    cpu = r['cpu_us'] / per
    limit_us = limit['cpu_us'] if limit else 0
    print(f'bench {name} cpu_us={cpu:.1f} limit_us={limit_us:.1f} ratio={cpu / limit_us if limit_us else 0:.2f} '
          f'ops_s={r["ops_s"] * per:.0f} p50_ms={r["p50_ms"]:.2f} p99_ms={r["p99_ms"]:.2f}', flush=True)


def load_cities(cluster, pids):
    before = cpu_seconds(pids)
    start = time.time()
    done = subprocess.run(['node', f'{ROOT}/deploy/load-cities.mjs'], env={**os.environ, **cluster.env},
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(f'bench cities ok={int(done.returncode == 0)} seconds={time.time() - start:.1f} '
          f'cpu_s={cpu_seconds(pids) - before:.1f}', flush=True)


def curl(cluster, path, *args):
    ca, cert, key = cluster.files
    command = ['curl', '-sS', '--cacert', ca, '--cert', cert, '--key', key, *args,
               f'https://localhost:{cluster.port}{path}']
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)


def find(**query):
    return '/cities?query=' + urllib.parse.quote(json.dumps(query))


def queries(cluster, pids):
    documents = curl(cluster, '/cities?count=true')['documentCount']
    nothing = find(name='Nowhere') + '&count=true'
    line('query-unindexed', measure(pids, cluster.port, nothing, 'path', cluster.files, 4), None, documents)
    before = cpu_seconds(pids)
    start = time.time()
    index = json.dumps({'name': 'by-name', 'fields': ['name']})
    curl(cluster, '/_/collections/cities/indexes', '-X', 'POST', '-d', index)
    while not curl(cluster, '/_/collections/cities/indexes')[0]['ready']:
        time.sleep(0.05)
    print(f'bench index-build documents={documents} seconds={time.time() - start:.2f} '
          f'cpu_s={cpu_seconds(pids) - before:.2f}', flush=True)
    ten = find(name='Miramar')
    print(f'bench query-indexed rows={len(curl(cluster, ten))}', flush=True)
    line('get-city', measure(pids, cluster.port, '/cities/city-000001', 'path', cluster.files), None)
    line('query-indexed', measure(pids, cluster.port, ten, 'path', cluster.files), None)


def main():
    limits = prototypes()
    cluster = Cluster()
    try:
        pids = list(cluster.pids.values())
        fresh = cluster.resident()
        time.sleep(1)
        before = cpu_seconds(pids)
        time.sleep(IDLE_S)
        print(f'bench idle cpu_percent={(cpu_seconds(pids) - before) / IDLE_S * 100:.2f}', flush=True)
        load_cities(cluster, pids)
        queries(cluster, pids)
        cities = cluster.resident()
        for n in cluster.names:
            print(f'bench memory daemon={n} fresh_mib={fresh[n]:.1f} cities_mib={cities[n]:.1f}', flush=True)
        load(cluster.port, '/bench', 'fill', 30, cluster.files)
        load(cluster.port, '/bench', 'put', 1, cluster.files)
        for op in ('put', 'get'):
            line(op, measure(pids, cluster.port, '/bench', op, cluster.files), limits.get(op))
        line('put-1-connection', measure(pids, cluster.port, '/bench', 'put', cluster.files, 1), limits.get('put-1'))
        line('batch-insert-500', measure(pids, cluster.port, '/batch', 'batch', cluster.files, 4), None, BATCH)
        line('list-100', measure(pids, cluster.port, '/bench', 'list', cluster.files), None)
        loaded = cluster.resident()
        for n in cluster.names:
            print(f'bench memory daemon={n} fresh_mib={fresh[n]:.1f} loaded_mib={loaded[n]:.1f}', flush=True)
    finally:
        cluster.close()


if __name__ == '__main__':
    main()
