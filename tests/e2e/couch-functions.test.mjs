// Functions of design documents over real connections, in real workers: filters of _changes.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { check, startCluster } from './lib.mjs';

const COUCH_PORT_OFFSET = -1459;

let cluster;
const test = (what, body) => check(() => cluster, what, body);

function couch(method, path, body, headers) {
  return cluster.sendTo(new URL(path, `https://localhost:${cluster.base + COUCH_PORT_OFFSET}`), { method, body, headers });
}

function expectError(answer, status, error, reason) {
  assert.equal(answer.status, status, answer.text);
  if (reason === undefined) assert.equal(answer.json.error, error, answer.text);
  else assert.deepEqual(answer.json, { error, reason });
}

async function database(name, design) {
  const db = `/${name}`;
  assert.equal((await couch('PUT', db)).status, 201);
  if (design) {
    const written = await couch('PUT', `${db}/_design/d`, design);
    assert.equal(written.status, 201, written.text);
  }
  return db;
}

async function put(db, id, body) {
  const answer = await couch('PUT', `${db}/${id}`, body);
  assert.equal(answer.status, 201, answer.text);
  return answer.json.rev;
}

const FILTERS = {
  even: 'function (doc) { return doc.n % 2 === 0; }',
  named: 'function (doc, req) { return doc.name === req.query.name && req.method === "GET" && req.userCtx.roles[0] === "_admin"; }',
  own: 'function (doc) { return this.words.indexOf(doc.name) >= 0; }',
  gone: 'function (doc) { return doc._deleted; }',
  throws: 'function (doc) { if (doc.n === 3) throw new Error("no threes"); return true; }',
  loops: 'function (doc) { if (doc.n === 3) for (;;); return true; }',
  fills: 'function (doc) { for (var all = []; ; ) all.push(new Array(1e6).fill(doc)); }',
  broken: 'function (doc) {',
  nothing: '42',
  reaches: 'function (doc) { return typeof require + typeof process + typeof fetch + typeof XMLHttpRequest + typeof setTimeout === "undefined".repeat(5); }',
  secret: 'function (doc, req) { return JSON.stringify(req).indexOf("c2VjcmV0") < 0; }',
};

describe('functions of design documents', () => {
  before(async () => {
    cluster = await startCluster('couch-functions');
  });
  after(() => cluster?.down());

  test('filters of _changes', async () => {
    const db = await database('filters', {
      filters: FILTERS,
      words: ['one', 'two'],
      views: { odd: { map: 'function (doc) { if (doc.n % 2) emit(doc._id, null); }' }, two: { map: 'function (doc) { emit(doc.n); emit(doc.n); }' } },
    });
    const names = ['zero', 'one', 'two', 'three', 'four'];
    for (const [n, name] of names.entries()) await put(db, name, { n, name });
    const rev = await put(db, 'gone', { n: 5 });
    assert.equal((await couch('DELETE', `${db}/gone?rev=${rev}`)).status, 200);

    const passed = async (query, body) => {
      const answer = await couch(body ? 'POST' : 'GET', `${db}/_changes?${query}`, body);
      assert.equal(answer.status, 200, answer.text);
      return answer.json.results.map(({ id }) => id).sort();
    };
    assert.deepEqual(await passed('filter=d/even'), ['four', 'two', 'zero']);
    assert.deepEqual(await passed('filter=d/even', {}), ['four', 'two', 'zero']);
    assert.deepEqual(await passed('filter=d/named&name=three'), ['three']);
    assert.deepEqual(await passed('filter=d/named&name=nobody'), []);
    assert.deepEqual(await passed('filter=d/own'), ['one', 'two']);
    assert.deepEqual(await passed('filter=d/gone'), ['gone']);
    assert.deepEqual(await passed('filter=_view&view=d/odd'), ['one', 'three']);
    assert.deepEqual(await passed('filter=_view&view=d%2Ftwo&include_docs=true'), ['_design/d', 'four', 'gone', 'one', 'three', 'two', 'zero']);
    assert.deepEqual((await passed('filter=d/reaches')).length, 7);
    const header = await couch('GET', `${db}/_changes?filter=d/secret`, undefined, { authorization: 'Basic c2VjcmV0', cookie: 'AuthSession=c2VjcmV0' });
    assert.equal(header.json.results.length, 7, header.text);
    const limited = await couch('GET', `${db}/_changes?filter=d/even&limit=1&include_docs=true`);
    assert.equal(limited.json.results.length, 1);
    assert.equal(limited.json.results[0].doc.n % 2, 0);
    const feed = await couch('GET', `${db}/_changes?filter=d/even&feed=continuous&timeout=100`);
    assert.equal(feed.text.trim().split('\n').length, 4, feed.text);

    for (const [query, status, error, reason] of [
      ['filter=d/odd', 404, 'not_found', 'missing json key: odd'],
      ['filter=nobody/odd', 404, 'not_found', 'missing'],
      ['filter=_view&view=d/nobody', 404, 'not_found', 'missing json key: nobody'],
      ['filter=_view', 400, 'bad_request', '`view` filter parameter is not provided.'],
      ['filter=_view&view=d', 400, 'bad_request', '`view` must be of the form `designname/viewname`'],
      ['filter=odd', 400, 'bad_request', '`filter` must be of the form `designname/filtername`'],
      ['filter=d/throws', 500, 'unknown_error', 'Error: no threes'],
      ['filter=d/loops', 500, 'os_process_error'],
      ['filter=d/broken', 400, 'compilation_error'],
      ['filter=d/nothing', 400, 'compilation_error', 'the source is not a function'],
    ])
      expectError(await couch('GET', `${db}/_changes?${query}`), status, error, reason);
    assert.equal((await couch('GET', `${db}/_changes?filter=d/fills`)).status, 500);
    const bare = await database('bare', { language: 'javascript' });
    expectError(await couch('GET', `${bare}/_changes?filter=d/odd`), 404, 'not_found', 'missing json key: filters');
    expectError(await couch('GET', `${bare}/_changes?filter=_view&view=d/odd`), 404, 'not_found', 'missing json key: views');
  });
});
