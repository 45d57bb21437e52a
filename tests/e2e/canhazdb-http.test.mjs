// canhazdb's HTTP interface, row by row, as somebody without its client uses it: what must be the same, and what is
// different on purpose. docs/differences-from-canhazdb.md names the rows of the second kind.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe } from 'node:test';
import { check, send, startCluster, until } from './lib.mjs';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
const WAIT_MS = 10000;

let cluster;
const test = (what, body) => check(() => cluster, what, body);
const q = (value) => encodeURIComponent(JSON.stringify(value));
const withoutId = ({ id, ...rest }) => rest;

function expectProblem(answer, status, code, what = '') {
  assert.deepEqual([answer.status, answer.json?.code], [status, code], `${what}: ${answer.text}`);
}

describe('the HTTP interface of canhazdb', () => {
  before(async () => {
    cluster = await startCluster('canhazdb-http', { gateways: 2 });
    for (const name of ['tests', 'rows', 'bad', 'held', 'batch']) await cluster.collection(name);
  });
  after(() => cluster?.down());

  describe('the same', () => {
    test('GET /: name and version, whatever the query string', async (c) => {
      const { status, json } = await c.get('/?x=1');
      assert.equal(status, 200);
      assert.deepEqual(Object.keys(json), ['status', 'name', 'version']);
      assert.equal(json.status, 200);
    });

    test('POST: 201, the document with an id of 36 characters; JSON whatever Content-Type and Accept say', async (c) => {
      const headers = { 'Content-Type': 'text/plain', Accept: 'text/html' };
      const made = await c.send('POST', '/tests', { body: '{"a":1}', headers });
      assert.equal(made.status, 201, made.text);
      assert.match(made.json.id, UUID);
      assert.deepEqual(withoutId(made.json), { a: 1 });
      assert.match(made.headers['content-type'], /^application\/json/);
      assert.doesNotMatch(made.text, /\n| "/, 'compact');
    });

    test('GET of a collection: an array; of one that is not there: an empty one; /c/ is /c', async (c) => {
      const { json } = await c.get('/tests');
      assert.equal(json.length, 1);
      assert.deepEqual((await c.get('/tests/')).json, json);
      assert.deepEqual((await c.get('/nowhere')).json, []);
      assert.deepEqual((await c.get(`/tests/${json[0].id}`)).json, json[0]);
    });

    test('empty parameters count as not given; null too; unknown ones are ignored', async (c) => {
      const all = (await c.get('/tests')).text;
      for (const query of ['query=', 'query=null', 'fields=', 'order=', 'limit=', 'limit=0', 'limit=null', 'count=', 'skip=', 'x=y', 'query=&lockId=&lockStrategy=']) {
        const { status, text } = await c.get(`/tests?${query}`);
        assert.deepEqual([status, text], [200, all], query);
      }
      assert.deepEqual((await c.get('/tests?count=true&query=&limit=0')).json, { documentCount: 1 });
    });

    test('PUT, PATCH, DELETE by query: {"changes":n}; an empty query means all; nothing there means 0', async (c) => {
      await c.post('/rows', [{ n: 1 }, { n: 2 }, { n: 3 }, { n: 4, keep: { a: 1, b: 2 } }]);
      const ids = (await c.get('/rows')).json.map((row) => row.id).sort();
      const steps = [
        ['PATCH', `query=${q({ n: 4 })}`, { keep: { b: null, c: 3 } }, 1],
        ['PUT', `query=${q({ n: { $lte: 2 } })}`, { n: 0, id: 'ignored' }, 2],
        ['PATCH', '', { seen: true }, 4],
        ['PATCH', 'query=', { seen: 1 }, 4],
        ['PATCH', `query=${q({ n: 99 })}`, { seen: 2 }, 0],
        ['DELETE', `query=${q({ n: 3 })}`, undefined, 1],
      ];
      for (const [method, query, body, changes] of steps) {
        const answer = await c.send(method, `/rows?${query}`, { body });
        assert.deepEqual([answer.status, answer.json], [200, { changes }], `${method} ${query}: ${answer.text}`);
      }
      const rows = (await c.get(`/rows?order=${q(['asc(n)'])}`)).json;
      assert.deepEqual(rows.map(withoutId), [{ n: 0, seen: 1 }, { n: 0, seen: 1 }, { n: 4, keep: { a: 1, c: 3 }, seen: 1 }]);
      assert.ok(rows.every((row) => ids.includes(row.id)), 'ids stay');
      for (const [method, body] of [['PUT', {}], ['PATCH', {}], ['DELETE', undefined]]) {
        const answer = await c.send(method, '/nowhere?query=', { body });
        assert.deepEqual([answer.status, answer.json], [200, { changes: 0 }], `${method}: ${answer.text}`);
      }
      assert.deepEqual((await c.send('DELETE', '/rows')).json, { changes: 3 });
      assert.deepEqual((await c.get('/rows')).json, []);
    });

    test('DELETE by id: 200 {}', async (c) => {
      await c.put('/tests/gone', { n: 1 });
      const answer = await c.send('DELETE', '/tests/gone');
      assert.deepEqual([answer.status, answer.text], [200, '{}']);
    });

    test('a batch: 201 with an item for each; of one element: like a single document; of none: []', async (c) => {
      const { status, json } = await c.post('/batch', [{ n: 1 }, { n: 2 }]);
      assert.equal(status, 201);
      assert.deepEqual(json.map((item) => [item.status, item.document.n]), [[201, 1], [201, 2]]);
      const one = await c.post('/batch', [{ n: 3 }]);
      assert.deepEqual([one.status, withoutId(one.json)], [201, { n: 3 }]);
      const none = await c.post('/batch', []);
      assert.deepEqual([none.status, none.text], [201, '[]']);
    });

    test('fields: these and id, in the order of the document; unknown ones are left out', async (c) => {
      await c.put('/tests/wide', { z: 1, a: 2, m: 3 });
      const { text } = await c.get(`/tests?query=${q({ id: 'wide' })}&fields=${q(['m', 'z', 'nothing'])}`);
      const [row] = JSON.parse(text);
      assert.deepEqual(row, { id: 'wide', z: 1, m: 3 });
      assert.deepEqual(Object.keys(row).filter((name) => name !== 'id'), ['z', 'm']);
      assert.deepEqual((await c.get(`/tests/wide?fields=${q(['a'])}`)).json, { id: 'wide', a: 2 });
    });

    test('names that no collection may have: 422; the method no path takes; paths under /_ that are nothing', async (c) => {
      expectProblem(await c.get('/under_score'), 422, 'bad_name');
      expectProblem(await c.send('POST', '/', { body: '{}' }), 405, 'method_not_allowed');
      expectProblem(await c.get('/_/nothing'), 404, 'no_route');
    });

    test('locks: an id of 36 characters; {} when it is released; 404 for one that is not', async (c) => {
      const made = await c.post('/_/locks', ['anything', 'tests.some']);
      assert.equal(made.status, 200, made.text);
      assert.match(made.json.id, UUID);
      const ended = await c.send('DELETE', `/_/locks/${made.json.id}`, { gateway: 2 });
      assert.deepEqual([ended.status, ended.text], [200, '{}']);
      expectProblem(await c.send('DELETE', `/_/locks/${made.json.id}`), 404, 'not_found');
      expectProblem(await c.send('DELETE', `/_/locks/${randomUUID()}`), 404, 'not_found');
      assert.equal((await c.post('/_/locks', [])).status, 200, 'no keys are free');
    });
  });

  describe('different on purpose', () => {
    test('what was 500 is 400, with the place', async (c) => {
      const table = [
        ['query=x', 'bad_parameter'], ['limit=abc', 'bad_parameter'], ['fields=s', 'bad_parameter'], ['order=desc(n)', 'bad_parameter'],
        ['limit="2"', 'bad_parameter'], ['limit=1.5', 'bad_parameter'], ['limit=-1', 'bad_parameter'],
        ['order="desc(n)"', 'bad_parameter'], ['order=["up(n)"]', 'bad_parameter'], ['order=["n"]', 'bad_parameter'],
        ['fields="s"', 'bad_parameter'], ['query=[]', 'bad_query'], ['query=5', 'bad_query'], ['query="x"', 'bad_query'],
        [`query=${q({ $or: [] })}`, 'bad_query'], [`query=${q({ $and: {} })}`, 'bad_query'], [`query=${q({ n: { $like: 1 } })}`, 'bad_query'],
      ];
      for (const [query, code] of table) {
        const answer = await c.get(`/tests?${query}`);
        expectProblem(answer, 400, code, query);
        assert.ok(answer.json.place, query);
      }
    });

    test('bodies: what is no JSON object is 400 and stores nothing', async (c) => {
      const table = [
        ['not json', 'invalid_json'], ['x', 'invalid_json'], ['{"a":', 'invalid_json'], ["{'a':1}", 'invalid_json'], ['{"a":1}x', 'invalid_json'],
        ['', 'empty_body'], ['null', 'wrong_type'], ['[null]', 'wrong_type'], ['5', 'wrong_type'], ['true', 'wrong_type'],
        ['"str"', 'wrong_type'], ['[5]', 'wrong_type'],
      ];
      for (const [body, code] of table)
        for (const [method, path] of [['POST', '/bad'], ['PUT', '/bad/x'], ['PATCH', '/bad/x'], ['PUT', '/bad?query='], ['PATCH', '/bad?query=']]) {
          expectProblem(await c.send(method, path, { body }), 400, code, `${method} ${path} ${body}`);
        }
      assert.deepEqual((await c.get('/bad?count=true')).json, { documentCount: 0 });
    });

    test('PUT by id creates, 201; answers say what a client may need, not an internal message', async (c) => {
      const id = randomUUID();
      const made = await c.put(`/tests/${id}`, { n: 1 });
      assert.deepEqual([made.status, made.json], [201, { changes: 1 }]);
      const again = await c.put(`/tests/${id}`, { n: 2 });
      assert.deepEqual([again.status, again.json], [200, { changes: 1 }]);
      expectProblem(await c.send('PATCH', `/tests/${randomUUID()}`, { body: {} }), 404, 'not_found');
      expectProblem(await c.send('DELETE', `/tests/${randomUUID()}`), 404, 'not_found');
      expectProblem(await c.get(`/tests/${randomUUID()}`), 404, 'not_found');
    });

    test('POST keeps the id that it is given, once', async (c) => {
      const id = randomUUID();
      assert.equal((await c.post('/tests', { id, n: 1 })).json.id, id);
      expectProblem(await c.post('/tests', { id, n: 2 }), 409, 'id_taken');
    });

    test('paths: ids are percent-decoded, nothing follows an id, // kills nobody', async (c) => {
      assert.equal((await c.put('/tests/a%2Fb', { n: 1 })).status, 201);
      assert.equal((await c.get(`/tests?query=${q({ id: 'a/b' })}`)).json.length, 1);
      expectProblem(await c.get('/tests/wide/anything'), 404, 'no_route');
      expectProblem(await c.get('/_x/locks'), 404, 'no_route');
      const twice = new URL(`${c.url('/').origin}//`);
      assert.ok((await send(twice, { agent: c.agent })).status < 500);
      assert.equal((await c.get('/')).status, 200);
      assert.equal((await c.send('HEAD', '/tests')).status, 200);
      assert.match((await c.send('OPTIONS', '/tests')).headers.allow, /GET/);
    });

    test('count=false and count=0 list', async (c) => {
      for (const value of ['false', '0']) assert.ok(Array.isArray((await c.get(`/tests?count=${value}`)).json), value);
      for (const value of ['true', '1', 'X']) assert.ok((await c.get(`/tests?count=${value}`)).json.documentCount >= 1, value);
    });

    test('order keeps documents without the field, takes all keys, and nested fields; limit cuts after it', async (c) => {
      const rows = Array.from({ length: 30 }, (_, n) => ({ n, g: n % 3, deep: { m: 30 - n } }));
      await c.post('/sorted', rows);
      await c.post('/sorted', { other: true });
      const list = async (order, rest = '') => (await c.get(`/sorted?order=${q(order)}${rest}`, { gateway: 2 })).json;
      assert.deepEqual((await list(['asc(n)'], '&limit=5')).map((row) => row.n), [undefined, 0, 1, 2, 3]);
      assert.deepEqual((await list(['desc(n)'], '&limit=3')).map((row) => row.n), [29, 28, 27]);
      assert.deepEqual((await list(['desc(g)', 'asc(n)'], '&limit=3')).map((row) => row.n), [2, 5, 8]);
      assert.deepEqual((await list(['asc(deep.m)'], '&limit=2')).map((row) => row.n), [undefined, 29]);
      assert.equal((await list(['asc(n)'])).length, 31);
    });

    test('queries as in MongoDB: types, falsy operands, absence', async (c) => {
      await c.post('/typed', [{ id: 'zero', n: 0 }, { id: 'three', n: 3 }, { id: 'text', n: '3' }, { id: 'null', n: null }, { id: 'none' },
        { id: 'object', n: { a: 1 } }, { id: 'array', n: [3, 'x'] }]);
      const table = [
        [{ n: 3 }, ['three', 'array']], [{ n: '3' }, ['text']], [{ n: 0 }, ['zero']], [{ n: null }, ['null', 'none']],
        [{ n: { a: 1 } }, ['object']], [{ n: [3, 'x'] }, ['array']], [{ n: { $gt: 0 } }, ['three', 'array']],
        [{ n: { $gte: 0, $lt: 3 } }, ['zero']], [{ n: { $exists: false } }, ['none']], [{ n: { $null: true } }, ['null', 'none']],
        [{ n: { $null: false } }, ['zero', 'three', 'text', 'object', 'array']],
        [{ n: { $ne: 3 } }, ['zero', 'text', 'null', 'none', 'object']], [{ n: { $nin: [3, 0] } }, ['text', 'null', 'none', 'object']],
        [{ n: { $in: [] } }, []], [{ n: { $not: { $gt: 0 } } }, ['zero', 'text', 'null', 'none', 'object']],
        [{ $nor: [{ n: 3 }, { n: '3' }] }, ['zero', 'null', 'none', 'object']], [{ n: { $size: 2 } }, ['array']],
        [{ n: { $all: ['x', 3] } }, ['array']], [{ n: { $elemMatch: { $gt: 2 } } }, ['array']], [{ n: { $mod: [3, 0] } }, ['zero', 'three', 'array']],
        [{ id: { $regex: '^n' } }, ['null', 'none']], [{ n: { $type: 'string' } }, ['text', 'array']], [{ 'n.a': 1 }, ['object']],
        [{ 'n.0': 3 }, ['array']],
      ];
      for (const [query, ids] of table) {
        const answer = await c.get(`/typed?query=${q(query)}`);
        assert.equal(answer.status, 200, `${JSON.stringify(query)}: ${answer.text}`);
        assert.deepEqual(answer.json.map((row) => row.id).sort(), [...ids].sort(), JSON.stringify(query));
        const counted = await c.get(`/typed?count=true&query=${q(query)}`);
        assert.deepEqual(counted.json, { documentCount: ids.length }, JSON.stringify(query));
      }
    });

    test('a locked write: 423 with x-lock-strategy fail, for every method; the holder writes with x-lock-id', async (c) => {
      await c.put('/held/doc', { n: 1 });
      const { json } = await c.post('/_/locks', ['held']);
      const writes = [['POST', '/held', {}], ['POST', '/held', [{}, {}]], ['PUT', '/held/doc', { n: 2 }], ['PATCH', '/held/doc', { m: 2 }],
        ['DELETE', '/held/other', undefined], ['PUT', '/held?query=', { n: 2 }], ['PATCH', '/held?query=', { m: 2 }], ['DELETE', '/held?query=', undefined]];
      const fail = { 'x-lock-strategy': 'fail' };
      for (const [method, path, body] of writes) {
        const answer = await c.send(method, path, { body, headers: fail, gateway: 2 });
        if (Array.isArray(body)) {
          assert.equal(answer.status, 201, answer.text);
          assert.deepEqual(answer.json.map((item) => [item.status, item.code]), [[423, 'locked'], [423, 'locked']]);
        } else expectProblem(answer, 423, 'locked', `${method} ${path}`);
      }
      assert.deepEqual((await c.get('/held')).json, [{ id: 'doc', n: 1 }], 'nobody got in, and reading goes on');
      const holder = { 'x-lock-id': json.id };
      assert.equal((await c.put('/held/doc', { n: 2 }, holder, { gateway: 2 })).status, 200);
      assert.deepEqual((await c.send('PATCH', '/held?query=', { body: { m: 2 }, headers: holder })).json, { changes: 1 });
      assert.equal((await c.post('/held', { id: 'other' }, { ...holder, ...fail })).status, 201);
      assert.equal((await c.send('DELETE', `/_/locks/${json.id}`)).status, 200);
      assert.equal((await c.send('DELETE', '/held/other', { headers: fail })).status, 200);
    });

    test('a lock of a document or a field excludes; a shorter key waits for it', async (c) => {
      await c.put('/held/one', { a: 1, b: 1 });
      const { json } = await c.post('/_/locks', ['held.one.a']);
      const fail = { 'x-lock-strategy': 'fail' };
      const refused = await c.send('PATCH', '/held/one', { body: { a: 2 }, headers: fail });
      expectProblem(refused, 423, 'locked');
      for (const key of ['held', 'held.one', 'held.one.a']) expectProblem(await c.post('/_/locks', [key], fail), 423, 'locked', key);
      const free = await c.post('/_/locks', ['held.two', 'heldx'], fail);
      assert.equal(free.status, 200, free.text);
      assert.equal((await c.put('/held/three', { a: 2 }, fail)).status, 201);
      for (const id of [json.id, free.json.id]) assert.equal((await c.send('DELETE', `/_/locks/${id}`)).status, 200);
      assert.equal((await c.send('PATCH', '/held/one', { body: { a: 2 }, headers: fail })).status, 200);
    });

    test('a client that goes away while it waits for a lock is never granted it', async (c) => {
      const { json } = await c.post('/_/locks', ['abandoned']);
      await assert.rejects(c.post('/_/locks', ['abandoned'], {}, { gateway: 2, timeoutMs: 500, agent: undefined, tls: c.tls }), /no answer/);
      assert.equal((await c.send('DELETE', `/_/locks/${json.id}`)).status, 200);
      await until('the lock is free again', WAIT_MS, async () => {
        const next = await c.post('/_/locks', ['abandoned'], { 'x-lock-strategy': 'fail' });
        return next.status === 200 && (await c.send('DELETE', `/_/locks/${next.json.id}`)).status === 200;
      });
    });

    test('two gateways that lock the same keys in opposite order never wait for each other', async (c) => {
      const rounds = Array.from({ length: 12 }, async (_, n) => {
        const keys = n % 2 ? ['left', 'right', `own-${n}`] : ['right', 'left'];
        const made = await c.insist('POST', '/_/locks', { body: keys, gateway: 1 + (n % 2) });
        assert.equal((await c.send('DELETE', `/_/locks/${made.json.id}`, { gateway: 1 + (n % 2) })).status, 200);
      });
      await Promise.all(rounds);
    });
  });
});
