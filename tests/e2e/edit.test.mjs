// Writes by query and updates on a real cluster: counts are exact and no document is changed twice, whoever is killed.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';

const UPDATE = { 'Content-Type': 'application/vnd.parley.update+json' };
const DOCUMENTS = 12000;
const BATCH = 1000;
const STORAGE = ['storage-1', 'storage-2', 'storage-3'];

let cluster;
const test = (what, body) => check(() => cluster, what, body);

const query = (filter) => `query=${encodeURIComponent(JSON.stringify(filter))}`;

async function fill(c, collection, count) {
  for (let from = 0; from < count; from += BATCH) {
    const body = Array.from({ length: Math.min(BATCH, count - from) }, (_, i) => ({ id: `d${from + i}`, n: 0, log: [] }));
    const { status, json } = await c.post(`/${collection}`, body);
    assert.equal(status, 201);
    assert.ok(json.every((item) => item.status === 201), JSON.stringify(json.find((item) => item.status !== 201)));
  }
}

async function count(c, collection, filter) {
  const { json } = await c.get(`/${collection}?count=true&${query(filter)}`);
  return json.documentCount;
}

function healthy(c) {
  return until('all storage nodes are healthy', 30000, async () => {
    const { json } = await c.get('/system.nodes');
    return json.filter((row) => row.role === 'storage').every((row) => row.health === 'healthy');
  });
}

/** Where the edit under way is done: at the lead. */
async function editing(c) {
  for (const name of STORAGE) if ((await c.metric(name, 'parley_edit_jobs')) > 0) return name;
  return undefined;
}

/** Counts all documents up once, with a key, through one gateway after the other until one has the answer. */
async function countUp(c, round) {
  const headers = { ...UPDATE, 'Idempotency-Key': `round-${round}` };
  const body = { $inc: { n: 1 }, $push: { log: round } };
  for (let attempt = 0; attempt < 50; attempt++) {
    const gateway = 1 + (attempt % 2);
    const answer = await c.send('PATCH', '/edits', { gateway, body, headers, timeoutMs: 60000 }).catch(() => undefined);
    if (answer?.status === 200) return answer.json;
    if (answer) assert.equal(answer.status, 503, answer.text);
    await c.insist('GET', '/edits?limit=1', { gateway: 2 - (attempt % 2) }).catch(() => undefined);
  }
  throw new Error('no answer to the edit');
}

async function all(c) {
  const documents = [];
  for (let cursor = ''; cursor !== undefined; ) {
    const answer = await c.get(`/edits?cursor=${cursor}`);
    assert.equal(answer.status, 200, answer.text);
    documents.push(...answer.json);
    cursor = answer.headers['x-parley-cursor'];
  }
  return documents;
}

async function expectRounds(c, rounds) {
  const log = Array.from({ length: rounds }, (_, i) => i + 1);
  const documents = await all(c);
  assert.equal(documents.length, DOCUMENTS);
  for (const { id, n, log: seen } of documents) {
    assert.equal(n, rounds, id);
    assert.deepEqual(seen, log, id);
  }
}

describe('writes by query', () => {
  before(async () => {
    cluster = await startCluster('edit');
    await cluster.collection('edits', { shards: 1 });
  });
  after(() => cluster?.down());

  test('PUT, PATCH and DELETE of what matches', async (c) => {
    await c.post('/forms', [{ id: 'a', v: 1 }, { id: 'b', v: 2, t: { x: 1, y: 1 } }, { id: 'c', v: 3 }]);
    const patched = await c.send('PATCH', `/forms?${query({ v: { $gte: 2 } })}&lockId=&lockStrategy=`, { body: { t: { x: null } } });
    assert.deepEqual([patched.status, patched.json], [200, { changes: 2 }]);
    assert.deepEqual((await c.get('/forms/b')).json, { id: 'b', v: 2, t: { y: 1 } });
    const put = await c.send('PUT', `/forms?${query({ id: 'a' })}`, { body: { id: 'other', w: 1 } });
    assert.deepEqual(put.json, { changes: 1 });
    assert.deepEqual((await c.get('/forms/a')).json, { id: 'a', w: 1 });
    assert.deepEqual((await c.send('DELETE', `/forms?${query({ v: 9 })}`)).json, { changes: 0 });
    assert.deepEqual((await c.send('DELETE', '/forms?query=')).json, { changes: 3 });
    assert.equal(await count(c, 'forms', {}), 0);
    assert.deepEqual((await c.send('DELETE', '/nobody')).json, { changes: 0 });
    const bad = await c.send('DELETE', `/forms?${query({ v: { $foo: 1 } })}`);
    assert.deepEqual([bad.status, bad.json.code, bad.json.place], [400, 'bad_query', 'query/v/$foo']);
  });

  test('update operators', async (c) => {
    await c.put('/forms/u', { n: 1, list: [1, 2], nested: [{ k: 1 }] });
    const update = (body) => c.send('PATCH', '/forms/u', { body, headers: UPDATE });
    const done = await update({ $inc: { n: 2 }, $push: { list: 3 }, $set: { 'nested.0.k': 5 }, $unset: { none: '' } });
    assert.deepEqual([done.status, done.json], [200, { changes: 1 }]);
    assert.deepEqual((await c.get('/forms/u')).json, { id: 'u', n: 3, list: [1, 2, 3], nested: [{ k: 5 }] });
    await update({ $addToSet: { list: { $each: [3, 4] } } });
    await update({ $pull: { list: { $lt: 3 } } });
    assert.deepEqual((await c.get('/forms/u')).json.list, [3, 4]);
    const wrong = await update({ $inc: { list: 1 } });
    assert.deepEqual([wrong.status, wrong.json.code, wrong.json.place], [422, 'update_failed', '/$inc/list']);
    const bad = await update({ $set: { id: 'x' } });
    assert.deepEqual([bad.status, bad.json.code, bad.json.place], [400, 'bad_update', '/$set/id']);
    const other = await c.send('PATCH', '/forms/u', { body: [], headers: { 'Content-Type': 'application/json-patch+json' } });
    assert.deepEqual([other.status, other.json.code], [415, 'unsupported_type']);
  });

  test('it stops at a document that the update does not fit, and says which', async (c) => {
    await c.collection('stops', { shards: 1 });
    await c.post('/stops', [{ id: 'a', n: 1 }, { id: 'b', n: 'x' }, { id: 'c', n: 1 }]);
    const { status, json } = await c.send('PATCH', '/stops', { body: { $inc: { n: 1 } }, headers: UPDATE });
    assert.equal(status, 422);
    assert.deepEqual([json.code, json.place, json.id, json.changes], ['update_failed', '/$inc/n', 'b', 1]);
    assert.equal((await c.get('/stops/a')).json.n, 2);
    assert.equal((await c.get('/stops/c')).json.n, 1);
  });

  test('the same key: once; other writes go on beside it', async (c, t) => {
    await fill(c, 'edits', DOCUMENTS);
    const answer = countUp(c, 1);
    let slowest = 0;
    let ended = false;
    answer.finally(() => (ended = true));
    while (!ended) {
      const from = Date.now();
      const { status, text } = await c.put('/forms/beside', { at: from });
      assert.ok(status === 200 || status === 201, text);
      slowest = Math.max(slowest, Date.now() - from);
    }
    t.diagnostic(`slowest write beside it ${slowest} ms`);
    assert.ok(slowest < 2000, `${slowest} ms`);
    assert.deepEqual(await answer, { changes: DOCUMENTS });
    assert.deepEqual(await countUp(c, 1), { changes: DOCUMENTS });
    const reused = await c.send('DELETE', '/edits', { headers: { 'Idempotency-Key': 'round-1' } });
    assert.deepEqual([reused.status, reused.json.code], [422, 'operation_id_reused']);
    await expectRounds(c, 1);
  });

  test('the lead is killed in the middle', async (c, t) => {
    const answer = countUp(c, 2);
    await until('the edit is under way', 20000, async () => (await count(c, 'edits', { n: 2 })) > 300, 1);
    const lead = await editing(c);
    const changed = await count(c, 'edits', { n: 2 });
    c.killNow(lead);
    assert.ok(changed < DOCUMENTS, 'it was over before');
    assert.deepEqual(await answer, { changes: DOCUMENTS });
    await c.dev('restart', lead);
    t.diagnostic(`${changed} of ${DOCUMENTS} were changed when ${lead} was killed`);
    await expectRounds(c, 2);
  });

  test('the gateway is killed in the middle', async (c, t) => {
    await healthy(c);
    const answer = countUp(c, 3);
    const seen = () => c.get(`/edits?count=true&${query({ n: 3 })}`, { gateway: 2 });
    await until('the edit is under way', 20000, async () => (await seen()).json.documentCount > 300, 1);
    c.killNow('gateway-1');
    const restarted = c.dev('restart', 'gateway-1');
    assert.deepEqual(await answer, { changes: DOCUMENTS });
    await restarted;
    t.diagnostic('the other gateway went on');
    await until('gateway-1 is back', 20000, async () => (await c.get('/edits/d0')).status === 200);
    await expectRounds(c, 3);
  });
});
