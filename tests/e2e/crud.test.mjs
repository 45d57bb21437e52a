// The native dialect, as a client sees it, through both gateways of a healthy cluster.
import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';

const DEPTH_MAX = 100;
const DOCUMENT_BYTES_MAX = 100000;

let cluster;
const test = (what, body) => check(() => cluster, what, body);

function nested(depth) {
  return `{"a":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`;
}

function expectProblem(answer, status, code) {
  assert.equal(answer.status, status, answer.text);
  assert.equal(answer.json?.code, code, answer.text);
  assert.equal(answer.json.status, status);
  assert.ok(answer.json.error.length > 10, 'a sentence');
}

async function count(collection) {
  const { json } = await cluster.get(`/${collection}?count=true`);
  return json.documentCount;
}

describe('a healthy cluster', () => {
  before(async () => {
    cluster = await startCluster('crud', { settings: [`gateway.max_document_bytes=${DOCUMENT_BYTES_MAX}`] });
    for (const name of ['books', 'bad', 'listed', 'values']) await cluster.collection(name);
  });
  after(() => cluster?.down());

  describe('native dialect', () => {
    test('POST creates, answers with the document, its revision and its place', async (c) => {
      const made = await c.post('/books', { title: 'Emma', year: 1815 });
      assert.equal(made.status, 201, made.text);
      assert.match(made.etag, /^"1-[0-9a-f]{32}"$/);
      assert.equal(made.json.title, 'Emma');
      assert.equal(made.headers.location, `/books/${made.json.id}`);
      const read = await c.get(made.headers.location);
      assert.equal(read.status, 200);
      assert.equal(read.etag, made.etag);
      assert.deepEqual(read.json, made.json);
    });

    test('POST of an id that is there is a conflict that names the current revision', async (c) => {
      const first = await c.post('/books', { id: 'twice', n: 1 });
      const second = await c.post('/books', { id: 'twice', n: 2 });
      expectProblem(second, 409, 'id_taken');
      assert.equal(`"${second.json.current}"`, first.etag);
      assert.equal((await c.get('/books/twice')).json.n, 1);
    });

    test('a collection is made by its first write', async (c) => {
      const made = await c.insist('PUT', '/fresh/one', { body: { n: 1 } });
      assert.equal(made.status, 201);
      assert.equal(await count('fresh'), 1);
    });

    test('PUT, PATCH and DELETE move the document from revision to revision', async (c) => {
      const created = await c.put('/books/emma', { title: 'Emma', tags: { old: true, good: true } });
      assert.equal(created.status, 201);
      const replaced = await c.put('/books/emma', { title: 'Emma', tags: { old: true }, year: 1815 });
      assert.equal(replaced.status, 200);
      assert.match(replaced.etag, /^"2-/);
      const patched = await c.send('PATCH', '/books/emma', { body: { year: null, tags: { good: 1 } } });
      assert.equal(patched.status, 200, patched.text);
      const read = await c.get('/books/emma');
      assert.deepEqual(read.json, { id: 'emma', title: 'Emma', tags: { old: true, good: 1 } });
      assert.equal(read.etag, patched.etag);
      const deleted = await c.send('DELETE', '/books/emma');
      assert.equal(deleted.status, 200);
      expectProblem(await c.get('/books/emma'), 404, 'not_found');
      const again = await c.put('/books/emma', { title: 'Emma' });
      assert.ok([200, 201].includes(again.status), again.text);
      assert.equal((await c.get('/books/emma')).json.title, 'Emma');
    });

    test('what is not there can be neither patched nor deleted', async (c) => {
      expectProblem(await c.send('PATCH', '/books/nobody', { body: { a: 1 } }), 404, 'not_found');
      expectProblem(await c.send('DELETE', '/books/nobody'), 404, 'not_found');
      expectProblem(await c.send('DELETE', '/nowhere/nobody'), 404, 'not_found');
    });

    test('If-Match takes the current revision only', async (c) => {
      const first = await c.put('/books/match', { n: 1 });
      const second = await c.put('/books/match', { n: 2 }, { 'If-Match': first.etag });
      assert.equal(second.status, 200, second.text);
      const late = await c.put('/books/match', { n: 3 }, { 'If-Match': first.etag });
      expectProblem(late, 409, 'conflict');
      assert.equal(`"${late.json.current}"`, second.etag);
      assert.equal(late.etag, second.etag);
      const wrong = await c.send('DELETE', '/books/match', { headers: { 'If-Match': first.etag } });
      expectProblem(wrong, 409, 'conflict');
      expectProblem(await c.put('/books/match', {}, { 'If-Match': '"what"' }), 400, 'bad_revision');
      assert.equal((await c.get('/books/match')).json.n, 2);
    });

    test('If-None-Match: * creates, never replaces', async (c) => {
      const made = await c.put('/books/new', { n: 1 }, { 'If-None-Match': '*' });
      assert.equal(made.status, 201, made.text);
      const again = await c.put('/books/new', { n: 2 }, { 'If-None-Match': '*' });
      expectProblem(again, 412, 'precondition_failed');
      assert.equal((await c.get('/books/new')).json.n, 1);
    });

    test('of writers with the same parent exactly one wins', async (c) => {
      const { etag } = await c.put('/books/race', { n: 0 });
      const writers = Array.from({ length: 20 }, (_, n) =>
        c.put('/books/race', { n }, { 'If-Match': etag }, { gateway: 1 + (n % 2) }));
      const answers = await Promise.all(writers);
      assert.equal(answers.filter((answer) => answer.status === 200).length, 1);
      assert.equal(answers.filter((answer) => answer.status === 409).length, 19);
    });

    test('an Idempotency-Key is answered alike, over either gateway, and not for other content', async (c) => {
      const key = { 'Idempotency-Key': 'order-17' };
      const first = await c.post('/books', { n: 17 }, key);
      const again = await c.post('/books', { n: 17 }, key, { gateway: 2 });
      assert.equal(first.status, 201);
      assert.deepEqual([again.status, again.etag, again.text], [first.status, first.etag, first.text]);
      expectProblem(await c.post('/books', { n: 18 }, key), 422, 'operation_id_reused');
      const put = { 'Idempotency-Key': 'put-1' };
      const one = await c.put('/books/keyed', { n: 1 }, put);
      await c.put('/books/keyed', { n: 2 });
      const repeated = await c.put('/books/keyed', { n: 1 }, put);
      assert.deepEqual([repeated.status, repeated.etag], [one.status, one.etag]);
      assert.equal((await c.get('/books/keyed')).json.n, 2, 'a repetition is not a second write');
      expectProblem(await c.put('/books/keyed', { n: 3 }, put), 422, 'operation_id_reused');
    });

    test('a batch answers for every item', async (c) => {
      await c.put('/books/there', { n: 0 });
      const batch = [{ id: 'b1', n: 1 }, { id: 'there', n: 1 }, { n: 3 }];
      const { status, json } = await c.post('/books', batch);
      assert.equal(status, 201);
      assert.deepEqual(json.map((item) => item.status), [201, 409, 201]);
      assert.equal(json[1].code, 'id_taken');
      assert.deepEqual(json[0].document, { id: 'b1', n: 1 });
      assert.equal((await c.get(`/books/${json[2].document.id}`)).json.n, 3);
      assert.equal((await c.get('/books/there')).json.n, 0);
    });

    test('a batch with one wrong document stores none', async (c) => {
      const batch = [{ id: 'x1' }, 7, { id: 'x2' }];
      expectProblem(await c.post('/bad', batch), 400, 'wrong_type');
      assert.equal(await count('bad'), 0);
    });

    test('HEAD and If-None-Match save the body', async (c) => {
      const { etag } = await c.put('/books/head', { n: 1 });
      const head = await c.send('HEAD', '/books/head');
      assert.deepEqual([head.status, head.etag, head.text], [200, etag, '']);
      const known = await c.get('/books/head', { headers: { 'If-None-Match': etag } });
      assert.deepEqual([known.status, known.etag, known.text], [304, etag, '']);
      await c.put('/books/head', { n: 2 });
      assert.equal((await c.get('/books/head', { headers: { 'If-None-Match': etag } })).status, 200);
    });

    test('answers carry a request id, the given one if there is one', async (c) => {
      assert.match((await c.get('/')).headers['x-request-id'], /^[0-9a-f]{32}$/);
      const named = await c.get('/', { headers: { 'X-Request-Id': 'mine-1' } });
      assert.equal(named.headers['x-request-id'], 'mine-1');
    });

    test('the limits are told', async (c) => {
      const { json } = await c.get('/_/limits');
      assert.equal(json.max_document_bytes, DOCUMENT_BYTES_MAX);
    });
  });

  describe('lists', () => {
    const ROWS = 40;
    const query = (filter) => encodeURIComponent(JSON.stringify(filter));

    test('rows are there', async (c) => {
      const rows = Array.from({ length: ROWS }, (_, n) => ({ id: `r${String(n).padStart(2, '0')}`, n, odd: n % 2 === 1 }));
      const { json } = await c.post('/listed', rows);
      assert.ok(json.every((item) => item.status === 201));
      assert.equal(await count('listed'), ROWS);
    });

    test('both gateways list the same, in order of id', async (c) => {
      const lists = await Promise.all([1, 2].map((gateway) => c.get('/listed', { gateway })));
      assert.equal(lists[0].json.length, ROWS);
      assert.equal(lists[0].text, lists[1].text);
      const ids = lists[0].json.map((row) => row.id);
      assert.deepEqual(ids, [...ids].sort());
    });

    test('query, fields, order and limit', async (c) => {
      const odd = await c.get(`/listed?query=${query({ odd: true, n: { $gte: 10 } })}&fields=["n"]&order=["desc(n)"]&limit=3`);
      assert.equal(odd.status, 200, odd.text);
      assert.deepEqual(odd.json.map((row) => row.n), [39, 37, 35]);
      assert.ok(odd.json.every((row) => row.odd === undefined));
      const counted = await c.get(`/listed?query=${query({ odd: true })}&count=true`);
      assert.deepEqual(counted.json, { documentCount: ROWS / 2 });
    });

    test('a cursor goes through all rows, none twice', async (c) => {
      const seen = [];
      let cursor = '';
      for (let page = 0; page < ROWS; page++) {
        const answer = await c.get(`/listed?limit=7&cursor=${encodeURIComponent(cursor)}`, { gateway: 1 + (page % 2) });
        assert.equal(answer.status, 200, answer.text);
        seen.push(...answer.json.map((row) => row.id));
        cursor = answer.headers['x-parley-cursor'];
        if (!cursor) break;
      }
      assert.equal(seen.length, ROWS);
      assert.equal(new Set(seen).size, ROWS);
    });

    test('what is wrong in a query is named', async (c) => {
      expectProblem(await c.get('/listed?query=[]'), 400, 'bad_query');
      expectProblem(await c.get(`/listed?query=${query({ n: { $what: 1 } })}`), 400, 'bad_query');
      expectProblem(await c.get('/listed?query={'), 400, 'bad_parameter');
      expectProblem(await c.get('/listed?limit=-1'), 400, 'bad_parameter');
      expectProblem(await c.get('/listed?cursor=!!'), 400, 'bad_parameter');
      assert.deepEqual((await c.get('/nowhere')).json, [], 'a collection that is not there has no documents');
    });

    test('system.collections counts exactly, deletions too', async (c) => {
      const shown = async (gateway) => {
        const { json } = await c.get('/system.collections', { gateway });
        return json.find((row) => row.collectionId === 'listed').documentCount;
      };
      assert.equal(await shown(1), ROWS);
      await c.send('DELETE', '/listed/r00');
      await c.put('/listed/r01', { n: 1, again: true });
      assert.equal(await shown(1), ROWS - 1);
      assert.equal(await shown(2), ROWS - 1);
      assert.equal((await c.get('/system.collections/listed')).json.documentCount, ROWS - 1);
    });

    test('system.nodes shows every member', async (c) => {
      const healthy = async () => {
        const { json: rows } = await c.get('/system.nodes');
        return rows.every((row) => row.health === 'healthy') && rows;
      };
      const json = await until('all are healthy', 10000, healthy);
      const names = ['arbiter-1', 'coordinator-1', 'gateway-1', 'gateway-2', 'storage-1', 'storage-2', 'storage-3'];
      assert.deepEqual(json.map((row) => row.id), names);
      assert.equal((await c.get('/system.nodes/storage-2')).json.role, 'storage');
    });
  });

  describe('bad input', () => {
    const long = (length) => 'x'.repeat(length);
    const table = [
      ['cut off', '{"a":', 400, 'invalid_json'],
      ['two values', '{} {}', 400, 'invalid_json'],
      ['not a number', '{"a":01}', 400, 'invalid_json'],
      ['a bare word', '{"a":nul}', 400, 'invalid_json'],
      ['a lone surrogate', '{"a":"\\ud800"}', 400],
      ['too deep', nested(DEPTH_MAX + 1), 400, 'json_too_deep'],
      ['much too deep', nested(100000 / 4), 400, 'json_too_deep'],
      ['a duplicate key', '{"a":{"b":1,"b":2}}', 400, 'duplicate_key'],
      ['a key doubled by an escape', '{"a":1,"\\u0061":2}', 400, 'duplicate_key'],
      ['invalid UTF-8', Buffer.from([0x7b, 0x22, 0x61, 0x22, 0x3a, 0x22, 0xff, 0x22, 0x7d]), 400, 'invalid_utf8'],
      ['overlong UTF-8', Buffer.from([0x7b, 0x22, 0x61, 0x22, 0x3a, 0x22, 0xc0, 0xaf, 0x22, 0x7d]), 400, 'invalid_utf8'],
      ['a number as document', '7', 400, 'wrong_type'],
      ['a string as document', '"a"', 400, 'wrong_type'],
      ['no body', '', 400, 'empty_body'],
    ];

    for (const [what, body, status, code] of table) {
      test(`${what}: ${status} ${code ?? ''}, nothing stored`, async (c) => {
        for (const [method, path] of [['POST', '/bad'], ['PUT', '/bad/doc'], ['PATCH', '/bad/doc']]) {
          const answer = await c.send(method, path, { body });
          expectProblem(answer, status, code ?? answer.json?.code);
        }
        assert.equal(await count('bad'), 0);
      });
    }

    test('the deepest that is allowed is taken', async (c) => {
      const answer = await c.send('PUT', '/values/deep', { body: nested(DEPTH_MAX) });
      assert.equal(answer.status, 201, answer.text);
    });

    test('an oversized document: 413 names the limit, and the connection goes on', async (c) => {
      const answer = await c.put('/bad/big', { text: long(DOCUMENT_BYTES_MAX) });
      expectProblem(answer, 413, 'body_too_large');
      assert.equal(answer.json.key, 'max_document_bytes');
      assert.equal(answer.json.limit, DOCUMENT_BYTES_MAX);
      assert.ok(answer.json.size > DOCUMENT_BYTES_MAX);
      assert.equal(await count('bad'), 0);
    });

    test('bad names and ids: 422', async (c) => {
      const control = '%01';
      for (const name of ['with%20space', 'under_score', '%C3%A4', long(65)])
        expectProblem(await c.put(`/${name}/a`, {}), 422, 'bad_name');
      for (const id of [control, long(513), '%FF'])
        expectProblem(await c.put(`/bad/${id}`, {}), 422, 'bad_id');
      for (const id of ['', 'a\u0001', long(513)]) expectProblem(await c.post('/bad', { id }), 422, 'bad_id');
      expectProblem(await c.post('/bad', { id: 7 }), 400, 'wrong_type');
      expectProblem(await c.put('/bad/a', { id: 'b' }), 400, 'bad_parameter');
      expectProblem(await c.post('/_/collections', { name: 'system.mine' }), 422, 'bad_name');
      assert.equal(await count('bad'), 0);
    });

    test('no such route: 404; no such method: 405 with Allow', async (c) => {
      expectProblem(await c.get('/_/nothing'), 404, 'no_route');
      expectProblem(await c.get('/a/b/c/d'), 404, 'no_route');
      const wrong = await c.send('PUT', '/_/limits', { body: {} });
      expectProblem(wrong, 405, 'method_not_allowed');
      assert.deepEqual(wrong.headers.allow.split(', ').sort(), ['GET', 'HEAD', 'OPTIONS']);
      expectProblem(await c.post('/system.nodes', {}), 405, 'method_not_allowed');
      const options = await c.send('OPTIONS', '/books/a');
      assert.equal(options.status, 204);
      assert.match(options.headers.allow, /PATCH/);
    });

    test('settings that make no sense are refused', async (c) => {
      const settings = [{ mode: 'sometimes' }, { replicas: 3, writeQuorum: 1 }, { policy: { strategy: 'luck' } }, { what: 1 }];
      for (const setting of settings)
        expectProblem(await c.post('/_/collections', { name: 'odd', ...setting }), 400, 'bad_parameter');
      const { json } = await c.get('/system.collections');
      assert.ok(!json.some((row) => row.collectionId === 'odd'));
    });
  });

  describe('values', () => {
    const values = [
      '9223372036854775807', '-9223372036854775808', '18446744073709551615', '0.1', '1e400', '-1e-400',
      '123456789012345678901234567890', '3.141592653589793238462643383279', '"\\u0000"', '""', 'null', '[]', '{}',
      '{"z":1,"a":2,"10":3,"9":4}', '[1,[2,[3]],null,true]', '"\u00e4\u20ac\ud834\udd1e"',
    ];

    for (const [n, value] of values.entries()) {
      test(`${value.slice(0, 40)} comes back as it went`, async (c) => {
        const sent = await c.send('PUT', `/values/v${n}`, { body: `{"value":${value}}` });
        assert.equal(sent.status, 201, sent.text);
        const text = (await c.get(`/values/v${n}`, { gateway: 2 })).text;
        assert.equal(text, `{"id":"v${n}","value":${value}}`);
      });
    }

    test('20 KB beyond ASCII', async (c) => {
      const body = { text: 'Grüße, 世界 🎼 '.repeat(1000) };
      await c.put('/values/long', body);
      assert.equal((await c.get('/values/long')).json.text, body.text);
    });

    test('ids beyond ASCII, with slashes and percent signs', async (c) => {
      for (const id of ['ä/b', '100%', 'a b', '世界', '...', 'a?b#c', '"', '\\']) {
        const made = await c.post('/values', { id, n: 1 });
        assert.equal(made.status, 201, made.text);
        assert.equal((await c.get(made.headers.location)).json.id, id);
      }
    });
  });
});
