// Secondary indexes on real daemons: they are built while documents change and a node is killed, and then answer as
// reading everything does.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';

const PEOPLE = 40000;
const BATCH = 500;
const SHARDS = 3;
const BUILD_MS = 60000;
const q = (value) => encodeURIComponent(JSON.stringify(value));

let cluster;
const test = (what, body) => check(() => cluster, what, body);

const person = (n) => ({
  id: `p-${n}`,
  n,
  age: n % 97,
  name: `Name ${(n * 7919) % 5000}`,
  tags: n % 3 ? [`t${n % 11}`, `t${n % 13}`] : [],
  home: { city: `c${n % 200}` },
});

async function load(c) {
  for (let from = 0; from < PEOPLE; from += BATCH) {
    const body = Array.from({ length: BATCH }, (_, i) => person(from + i));
    const answer = await c.post('/people', body);
    assert.ok(answer.status < 300, answer.text.slice(0, 200));
  }
}

async function indexes(c) {
  const { status, json, text } = await c.get('/_/collections/people/indexes');
  assert.equal(status, 200, text);
  return json;
}

function ready(c, name) {
  return until(`the index ${name} is ready`, BUILD_MS, async () => {
    const row = (await indexes(c)).find((index) => index.name === name);
    return row?.ready && row;
  });
}

/** All rows of a list, page by page. */
async function all(c, parameters) {
  const rows = [];
  let cursor = '';
  for (let page = 0; page < 100; page++) {
    const answer = await c.get(`/people?${parameters}${cursor && `&cursor=${encodeURIComponent(cursor)}`}`);
    assert.equal(answer.status, 200, answer.text);
    rows.push(...answer.json);
    cursor = answer.headers['x-parley-cursor'];
    if (!cursor) return rows;
  }
  throw new Error('no end');
}

async function explain(c, parameters) {
  const { status, json, text } = await c.get(`/people?${parameters}&explain=true`);
  assert.equal(status, 200, text);
  return json;
}

/** The index is used, and finds what reading all documents finds. */
async function agrees(c, index, parameters) {
  assert.equal((await explain(c, parameters)).index, index, parameters);
  const found = await all(c, parameters);
  assert.deepEqual(found, await all(c, `${parameters}&index=none`), parameters);
  return found;
}

function built(c, member, name) {
  return c.log(member).split('\n').filter((line) => line.includes('index_built') && line.includes(`name=${name} `)).length;
}

describe('indexes', () => {
  before(async () => {
    cluster = await startCluster('index');
    await cluster.collection('people', { shards: SHARDS });
    await load(cluster);
  });
  after(() => cluster?.down());

  test('a build goes on after kill -9, while documents change', async (c) => {
    let name;
    for (let attempt = 1; ; attempt++) {
      name = `by-age-${attempt}`;
      assert.equal((await c.post('/_/collections/people/indexes', { name, fields: ['age', 'n'] })).status, 201);
      c.killNow('storage-2');
      if (built(c, 'storage-2', name) < SHARDS) break;
      assert.ok(attempt < 5, 'no kill met a build');
      await c.dev('restart', 'storage-2');
      await c.ready('storage-2');
      assert.equal((await c.send('DELETE', `/_/collections/people/indexes/${name}`)).status, 200);
    }
    for (let n = 0; n < 200; n++) {
      const changed = { ...person(n * 31), age: 1000 + n };
      await c.insist('PUT', `/people/${changed.id}`, { body: changed });
    }
    await c.dev('restart', 'storage-2');
    await c.insist('DELETE', '/people/p-1');
    await ready(c, name);
    await until('storage-2 has built it', BUILD_MS, () => built(c, 'storage-2', name) >= SHARDS);
    const rows = await agrees(c, name, `query=${q({ age: { $gte: 1000 } })}`);
    assert.equal(rows.length, 200);
    assert.equal((await agrees(c, name, `query=${q({ age: 1 })}`)).some((row) => row.id === 'p-1'), false);
  });

  test('the node that was killed answers with it too', async (c) => {
    const name = (await indexes(c))[0].name;
    for (let n = 0; n < 10; n++) {
      const found = await c.get(`/people?consistency=any&query=${q({ age: 1000 + n })}`);
      assert.deepEqual(found.json.map((row) => row.n), [n * 31]);
    }
    c.killNow('storage-1');
    await c.insist('GET', `/people?query=${q({ age: 1000 })}`);
    await until('another lead uses the index', 20000, async () =>
      (await explain(c, `query=${q({ age: 1000 })}`)).index === name);
    assert.equal((await agrees(c, name, `query=${q({ age: { $gte: 1000 } })}`)).length, 200);
    await c.dev('restart', 'storage-1');
    await c.ready('storage-1');
  });

  test('it gives rows in its order, from both ends, page by page', async (c) => {
    const name = (await indexes(c))[0].name;
    for (const order of [['asc(age)', 'asc(n)'], ['desc(age)', 'desc(n)']]) {
      const plan = await explain(c, `order=${q(order)}&limit=10`);
      assert.deepEqual([plan.index, plan.sorted], [name, false]);
      assert.ok(plan.documentsRead <= SHARDS * 12, JSON.stringify(plan));
      const ages = (await c.get(`/people?order=${q(order)}&limit=10`)).json.map((row) => row.age);
      assert.deepEqual(ages, [...ages].sort((a, b) => (order[0] === 'asc(age)' ? a - b : b - a)));
      await agrees(c, name, `order=${q(order)}&query=${q({ age: 7 })}&limit=50`);
    }
  });

  test('each element of an array has a key, and each document comes once', async (c) => {
    assert.equal((await c.post('/_/collections/people/indexes', { name: 'tags', fields: ['tags'] })).status, 201);
    await ready(c, 'tags');
    const some = await agrees(c, 'tags', `query=${q({ tags: 't5', age: 3 })}&index=tags`);
    assert.equal(new Set(some.map((row) => row.id)).size, some.length);
    assert.ok(some.length > 0);
    await agrees(c, 'tags', `query=${q({ tags: { $in: ['t5', 't7'] }, age: 3 })}&index=tags`);
    await agrees(c, 'tags', `query=${q({ tags: ['t7', 't7'] })}`);
  });

  test('making one twice, again otherwise, and dropping', async (c) => {
    const path = '/_/collections/people/indexes';
    assert.equal((await c.post(path, { name: 'city', fields: ['home.city'] })).status, 201);
    assert.equal((await c.post(path, { name: 'city', fields: ['home.city'] })).status, 200);
    const other = await c.post(path, { name: 'city', fields: ['home'] });
    assert.deepEqual([other.status, other.json.code], [409, 'exists']);
    const row = await ready(c, 'city');
    assert.deepEqual([row.documents >= PEOPLE - 1, row.total, row.keys >= PEOPLE - 1], [true, PEOPLE - 1, true]);
    await agrees(c, 'city', `query=${q({ 'home.city': 'c7' })}`);
    const named = (await c.get('/system.collections/people')).json;
    assert.ok((Array.isArray(named) ? named[0] : named).indexes.some((index) => index.name === 'city'));
    assert.equal((await c.send('DELETE', `${path}/city`)).status, 200);
    assert.equal((await c.send('DELETE', `${path}/city`)).status, 404);
    await until('no lead uses it', 10000, async () =>
      (await explain(c, `query=${q({ 'home.city': 'c7' })}`)).index === 'none');
    for (const [bad, place] of [[{ name: 'x y', fields: ['a'] }, '/name'], [{ name: 'x', fields: [] }, '/fields'],
      [{ name: 'x', fields: ['a', 'a'] }, '/fields'], [{ name: 'x' }, '/fields'], [{ name: 'x', fields: 'a' }, '/fields'],
      [[], ''], [{ name: 'x', fields: ['a'], unique: true }, '']]) {
      const answer = await c.post(path, bad);
      assert.deepEqual([answer.status, answer.json.place ?? ''], [400, place], answer.text);
    }
    assert.equal((await c.get('/_/collections/nobody/indexes')).status, 404);
  });

  test('indexes come with a collection, too', async (c) => {
    const made = await c.collection('pets', { indexes: [{ name: 'kind', fields: ['kind'] }] });
    assert.deepEqual(made.json.indexes, [{ name: 'kind', fields: ['kind'] }]);
    await c.insist('PUT', '/pets/a', { body: { kind: 'cat' } });
    await until('the index is used', 10000, async () =>
      (await c.get(`/pets?query=${q({ kind: 'cat' })}&explain=true`)).json.index === 'kind');
    assert.equal((await c.get(`/pets?query=${q({ kind: 'cat' })}`)).json.length, 1);
  });
});
