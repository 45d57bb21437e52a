// The disk fills, and is freed again. Needs root, for a small file system of its own.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, openSync, rmSync, statfsSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { Cluster, check, choosePlace, must, until } from './lib.mjs';

const MIB = 1024 * 1024;
const DISK_BYTES = 512 * MIB;
const RESERVE_BYTES = 64 * MIB;
const NOTICED_MS = 10000;
const NODES = ['storage-1', 'storage-2', 'storage-3'];
const CAN_MOUNT = process.getuid() === 0 && spawnSync('mount', ['--version']).status === 0;

describe('a full disk', { skip: CAN_MOUNT ? false : 'a file system of its own needs root' }, () => {
  let cluster;
  let disk;
  let ballast;
  let mounted = false;
  const acknowledged = new Map();

  before(async () => {
    cluster = new Cluster('diskfull', await choosePlace());
    disk = join(cluster.dir, 'data');
    ballast = join(disk, 'ballast');
    mkdirSync(disk);
    await must('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES},mode=0700`, 'tmpfs', disk]);
    mounted = true;
    await cluster.up({ gateways: 1, settings: [`storage.disk_reserve_bytes=${RESERVE_BYTES}`] });
    for (let i = 0; i < 20; i++) await write(`before-${i}`);
  });
  after(async () => {
    await cluster.dev('down');
    if (mounted) await must('umount', [disk]);
    await cluster.down();
  });

  /** Fills the disk until so many bytes are left. */
  function fill(leaveBytes) {
    const file = openSync(ballast, 'w');
    const chunk = Buffer.alloc(MIB, 1);
    try {
      let left;
      while ((left = statfsSync(disk)).bfree * left.bsize > leaveBytes) {
        writeSync(file, chunk, 0, Math.min(MIB, left.bfree * left.bsize - leaveBytes));
      }
    } catch (error) {
      if (error.code !== 'ENOSPC') throw error;
    } finally {
      closeSync(file);
    }
  }

  function free() {
    const file = openSync(ballast, 'r+');
    ftruncateSync(file, 0);
    closeSync(file);
    rmSync(ballast);
  }

  let writes = 0;
  async function write(id, statuses = [200, 201]) {
    const headers = { 'Idempotency-Key': `write-${writes++}` }; // an outcome that is unknown is asked for again
    const answer = await cluster.insist('PUT', `/full/${id}`, { headers, body: { text: 'x'.repeat(2000) } }, statuses);
    if (answer.status < 300) acknowledged.set(id, answer.etag);
    return answer;
  }

  async function checkAllPresent() {
    for (const [id, revision] of acknowledged) {
      const answer = await cluster.insist('GET', `/full/${id}`, {}, [200, 404]);
      assert.equal(answer.status, 200, `${id} was acknowledged`);
      assert.equal(answer.etag, revision, id);
    }
  }

  check(() => cluster, 'short of the reserve, writes get 507 and reads go on', async () => {
    fill(RESERVE_BYTES / 2);
    // what leads took just before the replicas noticed goes into the reserve
    const answer = await until('a write is refused for want of space', 4 * NOTICED_MS, async () => {
      const id = `refused-${writes++}`;
      const last = await cluster.put(`/full/${id}`, { text: 'x'.repeat(2000) });
      if (last.status < 300) acknowledged.set(id, last.etag);
      return last.status === 507 && last;
    });
    assert.equal(answer.json.code, 'disk_full');
    assert.ok(answer.headers['retry-after']);
    for (const name of NODES) {
      await until(`${name} says so`, NOTICED_MS, async () => (await cluster.metric(name, 'parley_disk_full')) === 1);
    }
    await checkAllPresent();
  });

  check(() => cluster, 'freed, writes go on by themselves', async () => {
    free();
    await until('a write is taken', NOTICED_MS, async () => (await write('taken', [200, 201, 507])).status < 300);
    await checkAllPresent();
  });

  check(() => cluster, 'a disk that fills to the last byte under load loses nothing', async () => {
    const pids = NODES.map((name) => cluster.pid(name));
    let stop = false;
    let next = 0;
    let refused = 0;
    const writers = Array.from({ length: 4 }, async () => {
      while (!stop) {
        const id = `load-${next++}`;
        const body = { text: 'y'.repeat(20000) };
        const answer = await cluster.put(`/full/${id}`, body).catch(() => ({ status: 0 }));
        if (answer.status === 201) acknowledged.set(id, answer.etag);
        else refused++;
      }
    });
    try {
      await until('the writers write', 5000, () => next > 50);
      fill(0);
      await until('writes are refused', NOTICED_MS, () => refused > 10);
      await checkAllPresent();
      free();
      const before = acknowledged.size;
      await until('writes are taken again', 30000, () => acknowledged.size > before + 20);
    } finally {
      stop = true;
    }
    await Promise.all(writers);
    await checkAllPresent();
    for (const name of NODES) await cluster.ready(name);
    assert.deepEqual(NODES.map((name) => cluster.pid(name)), pids, 'no node was started again');
  });
});
