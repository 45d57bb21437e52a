// Large attachments whose way is broken off: gateways and leads that die in the middle, databases that are dropped.
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { readdirSync, statSync } from 'node:fs';
import { request } from 'node:https';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { couchClient, couchUrl } from './couch-lib.mjs';
import { check, startCluster, until } from './lib.mjs';

const MIB = 1024 * 1024;
const NODES = ['storage-1', 'storage-2', 'storage-3'];
const WAIT_MS = 60000;

let cluster;
const test = (what, body) => check(() => cluster, what, body);
const { couch, database } = couchClient(() => cluster);

/** An attachment that is sent as far as `more` says: its status, or that it broke off. */
function upload(path, gateway, length) {
  const out = request(couchUrl(cluster, path, gateway), { ...cluster.tls, method: 'PUT', headers: { 'content-length': length } });
  const ended = new Promise((done) => {
    out.on('response', (answer) => answer.resume().on('end', () => done(answer.statusCode)).on('error', () => done('broken')));
    out.on('error', () => done('broken'));
  });
  return { out, ended };
}

/** Until it is there: an attempt that was answered 503 may have been done. */
const sendAgain = (path, bytes) =>
  until('it is sent again', WAIT_MS, async () => [201, 409].includes((await couch('PUT', path, { body: bytes })).status));

const sum = async (metric) => {
  let all = 0;
  for (const name of NODES) all += await cluster.metric(name, metric);
  return all;
};

// Of one member's store: what holds contents, and what holds the rest.
function storeBytes(name) {
  let bytes = 0;
  for (const entry of readdirSync(join(cluster.dir, 'data', name), { recursive: true, withFileTypes: true }))
    if (entry.isFile() && /\.(blob|sst)$/.test(entry.name))
      bytes += statSync(join(entry.parentPath ?? entry.path, entry.name), { throwIfNoEntry: false })?.size ?? 0;
  return bytes;
}

describe('attachments that are broken off', () => {
  before(async () => {
    cluster = await startCluster('couch-uploads', { gateways: 2, settings: ['storage.upload_keep_seconds=5'] });
  });
  after(() => cluster?.down());

  test('a gateway that dies in the middle leaves nothing, and the same can be sent again', async () => {
    const db = await database('gateway');
    const bytes = randomBytes(6 * MIB);
    const { out, ended } = upload(`${db}/d/a`, 2, bytes.length);
    out.write(bytes.subarray(0, 4 * MIB));
    await until('some of it is there', WAIT_MS, async () => (await sum('parley_uploads')) > 0);
    cluster.killNow('gateway-2');
    assert.equal(await ended, 'broken');
    assert.equal((await couch('GET', `${db}/d`)).status, 404);
    await sendAgain(`${db}/d/a`, bytes);
    const read = await couch('GET', `${db}/d?attachments=true`);
    assert.ok(Buffer.from(read.json._attachments.a.data, 'base64').equals(bytes));
    await cluster.dev('restart', 'gateway-2');
  });

  test('leads that die in the middle: an error or all of it, and then again', async () => {
    const db = await database('leads');
    // whichever it is that leads one of these, they die one after the other
    const sent = [0, 1, 2, 3].map((i) => {
      const bytes = randomBytes(6 * MIB); // its own: a shard keeps the same once
      const { out, ended } = upload(`${db}/d${i}/a`, 1, bytes.length);
      out.write(bytes.subarray(0, 3 * MIB));
      return { id: `d${i}`, bytes, out, ended };
    });
    await until('some of it is there', WAIT_MS, async () => (await sum('parley_uploads')) > 0);
    cluster.killNow('storage-1');
    for (const { bytes, out } of sent) out.end(bytes.subarray(3 * MIB));
    for (const { id, bytes, ended } of sent) {
      const status = await ended;
      assert.ok([201, 503, 'broken'].includes(status), `${id}: ${status}`);
      const rev = await until('it is read', WAIT_MS, async () => {
        const read = await couch('GET', `${db}/${id}`);
        if (read.status === 404) return { none: true };
        return read.status === 200 && { rev: read.json._rev };
      });
      if (status === 201) assert.ok(rev.rev, `${id} was acknowledged`);
      if (rev.none) await sendAgain(`${db}/${id}/a`, bytes);
      const read = await until('it is read', WAIT_MS, async () => {
        const whole = await couch('GET', `${db}/${id}?attachments=true`);
        return whole.status === 200 && whole;
      });
      assert.ok(Buffer.from(read.json._attachments.a.data, 'base64').equals(bytes), id);
    }
    await cluster.dev('restart', 'storage-1');
  });

  test('what nobody came for is dropped, and space comes back with its database', async () => {
    const has = (metric, value) => sum(metric).then((all) => all === value, () => false);
    await until('no upload is left', WAIT_MS, () => has('parley_uploads', 0), 200);
    await until('all have what documents name', WAIT_MS, () => has('parley_attachments', NODES.length * 5), 200);
    await until('it is in files', WAIT_MS, () => NODES.every((name) => storeBytes(name) > 8 * MIB), 200);
    for (const name of ['gateway', 'leads']) assert.equal((await couch('DELETE', `/${name}`)).status, 200);
    await until('their files are gone', WAIT_MS, () => NODES.every((name) => storeBytes(name) < 4 * MIB), 200);
  });
});
