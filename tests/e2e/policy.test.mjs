// Policies as documents of system.policies, the dry run, and what takes effect when one is changed.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';

const RESOLVED_MS = 15000;
let cluster;
const test = (what, body) => check(() => cluster, what, body);

/** Writes `base`, then two edits of it, the second as a branch. */
async function diverge(c, path, base, online, offline) {
  const first = await c.put(path, base);
  assert.equal(first.status, 201, first.text);
  const second = await c.put(path, online, { 'If-Match': first.etag });
  assert.equal(second.status, 200, second.text);
  await c.insist('PUT', `${path}?branch=true`, { body: offline, headers: { 'If-Match': first.etag } });
}

function openOnes(c, collection, count) {
  return until(`${count} conflicts of ${collection} are open`, RESOLVED_MS, async () => {
    const { json } = await c.insist('GET', `/_/conflicts?collection=${collection}&state=open`);
    return json.length === count && (count === 0 || json.every((row) => row.detail)) && json;
  });
}

const ask = (c, method, path, body, headers = {}) => c.send(method, path, { body, headers });

describe('policies', () => {
  before(async () => {
    cluster = await startCluster('policy');
    await cluster.collection('care', { mode: 'available', policy: { strategy: 'none' } });
    await cluster.collection('plain');
  });
  after(() => cluster?.down());

  test('they are listed, queried, and read one by one', async (c) => {
    const { json } = await c.insist('GET', '/system.policies?query={"id":{"$in":["care","plain"]}}');
    assert.deepEqual(json, [{ id: 'care', version: 1, strategy: 'none' }, { id: 'plain', version: 1, strategy: 'merge' }]);
    const one = await c.insist('GET', '/system.policies/care');
    assert.equal(one.etag, '"1"');
    assert.deepEqual(one.json, json[0]);
    assert.equal((await c.send('GET', '/system.policies/care', { headers: { 'If-None-Match': '"1"' } })).status, 304);
  });

  test('a dry run says what each policy would do, and changes nothing', async (c) => {
    await diverge(c, '/care/x', { a: 1, b: 1, log: [] }, { a: 2, b: 1, log: ['one'] }, { a: 1, b: 3, log: ['two'] });
    await diverge(c, '/care/y', { a: 1 }, { a: 2 }, { a: 3 });
    const before = await openOnes(c, 'care', 2);
    const dry = async (policy, more) => {
      const { status, json, text } = await c.insist('POST', '/_/policies/_test', { body: { collection: 'care', policy, ...more } });
      assert.equal(status, 200, text);
      return Object.fromEntries(json.map((row) => [row.id, row]));
    };
    const merged = await dry({ paths: { log: 'append' } });
    assert.equal(merged.x.outcome, 'resolved');
    assert.deepEqual(merged.x.document, { id: 'x', a: 2, b: 3, log: ['one', 'two'] });
    assert.equal(merged.y.outcome, 'open');
    assert.equal(merged.y.detail.open[0].path, 'a');
    const newest = await dry({ strategy: 'merge', fallback: 'newest' });
    assert.deepEqual(newest.y.document, { id: 'y', a: 3 });
    const inForce = await dry(undefined, { ids: ['y', 'nothing'] });
    assert.equal(inForce.y.detail.reason, 'policy_none');
    assert.equal(inForce.nothing.outcome, 'none');
    assert.deepEqual((await openOnes(c, 'care', 2)).map((row) => row.leaves), before.map((row) => row.leaves));
  });

  test('a change needs the version it was made on, and takes effect', async (c) => {
    const stale = await ask(c, 'PUT', '/system.policies/care', { strategy: 'newest' }, { 'If-Match': '"7"' });
    assert.equal(stale.status, 409, stale.text);
    const put = await ask(c, 'PUT', '/system.policies/care', { paths: { log: 'append' } }, { 'If-Match': '"1"' });
    assert.deepEqual([put.status, put.etag, put.json.version], [200, '"2"', 2], put.text);
    const left = await openOnes(c, 'care', 1);
    assert.equal(left[0].id, 'y');
    assert.deepEqual((await c.get('/care/x')).json.log, ['one', 'two']);
    const patched = await ask(c, 'PATCH', '/system.policies/care', { fallback: 'oldest' });
    assert.deepEqual(patched.json, { id: 'care', version: 3, strategy: 'merge', paths: { log: 'append' }, fallback: 'oldest' });
    await openOnes(c, 'care', 0);
    assert.equal((await c.get('/care/y')).json.a, 2);
    const { json } = await c.insist('GET', '/_/conflicts?collection=care&state=resolved');
    assert.deepEqual(json.map((row) => [row.id, row.policyVersion]), [['x', 2], ['y', 3]]);
  });

  test('mistakes are refused with their place; DELETE goes back to the default', async (c) => {
    const bad = await ask(c, 'PATCH', '/system.policies/care', { paths: { log: 'prepend' } });
    assert.deepEqual([bad.status, bad.json.place], [400, '/paths/log'], bad.text);
    assert.match(bad.json.detail, /"append"/);
    assert.equal((await ask(c, 'PUT', '/system.policies/nowhere', {})).status, 404);
    const gone = await ask(c, 'DELETE', '/system.policies/care');
    assert.deepEqual(gone.json, { id: 'care', version: 4, strategy: 'merge' });
  });
});
