// Lists over a real cluster: what is found, in which order, page by page, and what is refused.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { check, startCluster } from './lib.mjs';

const TOWNS = 300;
const SHARDS = 5;
const q = (value) => encodeURIComponent(JSON.stringify(value));

let cluster;
const test = (what, body) => check(() => cluster, what, body);

const towns = Array.from({ length: TOWNS }, (_, n) => ({
  id: `t${n * 7919 % 1000}-${n}`,
  n,
  country: ['FR', 'DE', 'PL', 'IT'][n % 4],
  size: n % 3 ? { people: n % 17, area: n / 4 } : undefined,
  names: n % 2 ? [{ lang: 'en', text: `Town ${n}` }, { lang: 'fr', text: `Ville ${n % 10}` }] : [],
  twin: n % 5 ? null : `t${n}`,
})).map((town) => JSON.parse(JSON.stringify(town)));

const byId = (a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0);
const ids = (rows) => rows.map((row) => row.id);

/** All pages of a list, one after another, through both gateways in turn. */
async function pages(c, body, limit) {
  const rows = [];
  let cursor;
  for (let page = 0; page < 200; page++) {
    const answer = await c.send('POST', '/towns/_query', { body: { ...body, limit, cursor }, gateway: 1 + (page % 2) });
    assert.equal(answer.status, 200, answer.text);
    assert.ok(answer.json.length <= limit);
    rows.push(...answer.json);
    cursor = answer.headers['x-parley-cursor'];
    if (!cursor) return rows;
  }
  throw new Error('no end');
}

async function list(c, parameters) {
  const answer = await c.get(`/towns?${parameters}`);
  assert.equal(answer.status, 200, answer.text);
  return answer;
}

function refused(answer, code, place) {
  assert.equal(answer.status, 400, answer.text);
  assert.equal(answer.json.code, code, answer.text);
  assert.equal(answer.json.place, place, answer.text);
  assert.ok(answer.json.detail?.length > 5 || answer.json.limit, answer.text);
}

describe('queries', () => {
  before(async () => {
    cluster = await startCluster('query');
    await cluster.collection('towns', { shards: SHARDS });
    await cluster.insist('POST', '/towns', { body: towns });
  });
  after(() => cluster?.down());

  test('filters find what they name, by URL and by body', async (c) => {
    const cases = [
      [{ country: 'FR' }, (t) => t.country === 'FR'],
      [{ 'size.people': { $gte: 3, $lt: 7 } }, (t) => t.size && t.size.people >= 3 && t.size.people < 7],
      [{ size: { $exists: false } }, (t) => !t.size],
      [{ twin: null }, (t) => t.twin === null],
      [{ 'names.text': 'Ville 3' }, (t) => t.names.some((name) => name.text === 'Ville 3')],
      [{ names: { $size: 0 } }, (t) => t.names.length === 0],
      [{ names: { $elemMatch: { lang: 'en', text: { $regex: '^Town 1' } } } },
        (t) => t.names.some((name) => name.lang === 'en' && name.text.startsWith('Town 1'))],
      [{ $or: [{ n: { $mod: [50, 1] } }, { n: { $in: [7, 8] } }], country: { $ne: 'DE' } },
        (t) => (t.n % 50 === 1 || t.n === 7 || t.n === 8) && t.country !== 'DE'],
      [{ $nor: [{ country: 'FR' }, { n: { $not: { $lt: 20 } } }] }, (t) => t.country !== 'FR' && t.n < 20],
      [{ id: { $in: [towns[3].id, towns[9].id] } }, (t) => t.n === 3 || t.n === 9],
    ];
    for (const [query, holds] of cases) {
      const want = ids(towns.filter(holds)).sort();
      assert.ok(want.length > 0 && want.length < TOWNS, JSON.stringify(query));
      const answer = await list(c, `query=${q(query)}`);
      assert.deepEqual(ids(answer.json), want, JSON.stringify(query));
      assert.equal(answer.headers['x-parley-index'], query.id ? 'id' : 'none');
      assert.deepEqual(ids((await c.post('/towns/_query', { query })).json), want);
      assert.equal((await list(c, `count=true&query=${q(query)}`)).json.documentCount, want.length);
    }
  });

  test('pages by id and by order are together the whole list, each document once', async (c) => {
    const people = (t) => t.size?.people ?? -1;
    const orders = [
      [undefined, byId],
      [['desc(n)'], (a, b) => b.n - a.n],
      [['asc(size.people)', 'desc(country)'],
        (a, b) => people(a) - people(b) || (a.country < b.country ? 1 : a.country > b.country ? -1 : byId(a, b))],
    ];
    for (const [order, compare] of orders)
      assert.deepEqual(ids(await pages(c, { order }, 37)), ids([...towns].sort(compare)), String(order));
  });

  test('skip, limit and fields', async (c) => {
    const sorted = [...towns].sort((a, b) => b.n - a.n);
    const { json } = await list(c, `order=${q(['desc(n)'])}&skip=40&limit=3&fields=${q(['n', 'names.lang', 'size.people'])}`);
    assert.deepEqual(json, sorted.slice(40, 43).map((t) => JSON.parse(JSON.stringify({
      id: t.id, n: t.n, size: t.size && { people: t.size.people }, names: t.names.map(({ lang }) => ({ lang })),
    }))));
    assert.deepEqual((await list(c, 'skip=1000')).json, []);
    assert.equal((await list(c, `skip=${TOWNS - 2}`)).json.length, 2);
  });

  test('empty parameters count as absent, as clients of canhazdb send them', async (c) => {
    const { json } = await list(c, 'query=&fields=&order=&limit=&count=&skip=&cursor=&explain=&index=');
    assert.equal(json.length, TOWNS);
    assert.equal((await list(c, 'limit=0&query=null')).json.length, TOWNS);
    assert.equal((await list(c, 'count=1&limit=2')).json.documentCount, TOWNS);
    assert.equal((await list(c, 'count=false&limit=2')).json.length, 2);
  });

  test('explain tells what was read', async (c) => {
    const { json, headers } = await list(c, `explain=true&index=none&query=${q({ country: 'FR' })}&order=${q(['asc(n)'])}&limit=5`);
    assert.equal(json.collection, 'towns');
    assert.equal(json.index, 'none');
    assert.equal(headers['x-parley-index'], 'none');
    assert.equal(json.documentsRead, TOWNS);
    assert.equal(json.keysRead, 0);
    assert.equal(json.rows, 5);
    assert.equal(json.sorted, true);
    assert.equal(json.shards.length, SHARDS);
    assert.equal(json.shards.reduce((sum, shard) => sum + shard.documentsRead, 0), TOWNS);
  });

  test('what is malformed is refused with its place', async (c) => {
    const query = (value) => c.get(`/towns?query=${q(value)}`);
    refused(await query({ a: { $gt: 1, $up: 2 } }), 'bad_query', 'query/a/$up');
    refused(await query({ $or: [{}, { 'a.b': { $in: 5 } }] }), 'bad_query', 'query/$or/1/a.b/$in');
    refused(await query({ a: { $regex: '(' } }), 'bad_query', 'query/a/$regex');
    refused(await query([]), 'bad_query', 'query');
    refused(await c.get('/towns?limit=-1'), 'bad_parameter', 'limit');
    refused(await c.get('/towns?skip=1000001'), 'bad_parameter', 'skip');
    refused(await c.get(`/towns?order=${q(['asc(a)', 'up(b)'])}`), 'bad_parameter', 'order/1');
    refused(await c.get(`/towns?fields=${q(['a', 5])}`), 'bad_parameter', 'fields/1');
    refused(await c.post('/towns/_query', { query: { a: { $size: -1 } } }), 'bad_query', '/query/a/$size');
    refused(await c.post('/towns/_query', { filter: {} }), 'bad_parameter', '/filter');
  });

  test('long queries go in a body, up to their limit', async (c) => {
    const long = (count) => ({ query: { id: { $in: [towns[5].id, ...Array.from({ length: count }, (_, n) => `nobody-${n}`)] } } });
    assert.deepEqual(ids((await c.post('/towns/_query', long(10000))).json), [towns[5].id]);
    assert.equal((await c.get(`/towns?query=${q(long(900).query)}`)).json.code, 'uri_too_long');
    refused(await c.post('/towns/_query', long(30000)), 'bad_query', '/query');
  });

  test('a cursor belongs to its list', async (c) => {
    const cursor = (await list(c, `limit=5&order=${q(['asc(n)'])}`)).headers['x-parley-cursor'];
    assert.equal((await list(c, `limit=5&order=${q(['asc(n)'])}&cursor=${cursor}`)).json[0].n, 5);
    for (const other of ['', `order=${q(['desc(n)'])}&`, `order=${q(['asc(n)'])}&query=${q({ n: 1 })}&`])
      refused(await c.get(`/towns?${other}cursor=${cursor}`), 'bad_parameter', 'cursor');
    refused(await c.get(`/elsewhere?order=${q(['asc(n)'])}&cursor=${cursor}`), 'bad_parameter', 'cursor');
  });

  test('a pattern without end is refused, and others are answered meanwhile', async (c) => {
    await c.put('/towns/long', { text: `${'a'.repeat(100)}!` });
    const answer = await c.get(`/towns?query=${q({ text: { $regex: '^(a+)+$' } })}`);
    assert.equal(answer.status, 400, answer.text);
    assert.equal(answer.json.code, 'pattern_too_costly');
    assert.equal((await c.send('DELETE', '/towns/long')).status, 200);
  });

  test('conflicts are a collection, too', async (c) => {
    await c.collection('notes', { policy: { strategy: 'none' } });
    const first = await c.insist('PUT', '/notes/a', { body: { v: 1 } });
    await c.put('/notes/a', { v: 2 }, { 'If-Match': first.etag });
    const late = await c.put('/notes/a?branch=true', { v: 3 }, { 'If-Match': first.etag });
    assert.ok(late.status < 300, late.text);
    const { json } = await c.get(`/system.conflicts?query=${q({ collection: 'notes', state: 'open' })}&fields=${q(['documentId'])}`);
    assert.deepEqual(json, [{ id: 'notes/a', documentId: 'a' }]);
    assert.equal((await c.get('/system.conflicts/notes%2Fa')).json.leaves.length, 2);
    assert.deepEqual((await c.post('/system.conflicts/_query', { count: true })).json, { documentCount: 1 });
  });

  test('indexes are a collection, too', async (c) => {
    await c.collection('indexed', { indexes: [{ name: 'by-n', fields: ['n', 'a.b'] }] });
    await c.insist('PUT', '/indexed/a', { body: { n: 1 } });
    const { json } = await c.get(`/system.indexes?query=${q({ collection: 'indexed' })}`);
    assert.equal(json.length, 1, JSON.stringify(json));
    assert.equal(json[0].id, 'indexed/by-n');
    assert.deepEqual(json[0].fields, ['n', 'a.b']);
    assert.equal((await c.get('/system.indexes/indexed%2Fby-n')).json.name, 'by-n');
    refused(await c.get('/indexed?index=other'), 'bad_parameter', 'index');
  });

  test('system collections are paged like others', async (c) => {
    const all = (await c.get('/system.nodes')).json;
    const first = await c.get('/system.nodes?limit=2&order=["desc(id)"]');
    const rest = await c.get(`/system.nodes?order=["desc(id)"]&cursor=${first.headers['x-parley-cursor']}`);
    assert.deepEqual(ids([...first.json, ...rest.json]), ids(all).reverse());
    assert.equal((await c.get('/system.nodes', {})).status, 200);
    assert.equal((await c.post('/system.nodes', {})).status, 405);
  });
});
