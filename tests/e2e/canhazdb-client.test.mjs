// The client that canhazdb's users have, as it was published and unmodified, on a cluster with two gateways: every call,
// through each gateway, with a storage node and a gateway lost on the way. What it does by itself, right or wrong, is
// described in docs/differences-from-canhazdb.md; what is held here is what Parley answers.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';

// With NODE_ENV=development the client speaks other names than its own server in production.
delete process.env.NODE_ENV;
const { default: createClient } = await import('canhazdb-client');

const ANSWER_MS = 15000;
const RECONNECT_MS = 40000;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

let cluster;
const clients = [];
const test = (what, body) => check(() => cluster, what, body);

function connect(gateway, options = {}) {
  const client = createClient(cluster.url('/', gateway).origin, { tls: cluster.tls, ...options });
  clients.push(client);
  return client;
}

/** Some of the client's promises never end when it gets no answer; then the test should, and say what it waited for. */
function within(what, promise, deadlineMs = ANSWER_MS) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`${what}: no answer within ${deadlineMs} ms`)), deadlineMs);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The client's own interface, with a deadline around every call. */
function bounded(client, deadlineMs = ANSWER_MS) {
  const calls = ['count', 'getAll', 'getOne', 'put', 'patch', 'post', 'delete', 'lock', 'unlock', 'on', 'off'];
  const wrap = (name) => (...args) => within(name, Promise.resolve(client[name](...args)), deadlineMs);
  return Object.fromEntries(calls.map((name) => [name, wrap(name)]));
}

async function refusal(promise) {
  const error = await promise.then((value) => assert.fail(`answered ${JSON.stringify(value)}`), (problem) => problem);
  assert.ok(error instanceof Error);
  return error;
}

/** An error answer over HTTPS: Parley's members, told apart by `code`. */
async function expectHttp(promise, statusCode, code) {
  const error = await refusal(promise);
  assert.equal(error.message, 'canhazdb error', error.stack);
  assert.equal(error.statusCode, statusCode, JSON.stringify(error.data));
  assert.equal(error.data.code, code);
  assert.equal(error.data.status, statusCode);
  return error.data;
}

const letters = (rows) => rows.map((row) => row.letter);
const byLetter = (rows) => letters(rows).sort();

describe('canhazdb-client', () => {
  let one;
  let two;
  let lasting;

  before(async () => {
    cluster = await startCluster('canhazdb-client', { gateways: 2 });
    one = bounded(connect(1));
    lasting = connect(2);
    two = bounded(lasting);
  });
  after(async () => {
    for (const client of clients) client.close();
    await cluster?.down();
  });

  for (const gateway of [1, 2]) {
    describe(`through gateway ${gateway}`, () => {
      const tests = `tests-${gateway}`;
      let mine;
      let other;

      test('is connected', () => {
        [mine, other] = gateway === 1 ? [one, two] : [two, one];
      });

      test('post gives the document with an id of its own; numbers, nesting and non-ASCII survive', async () => {
        const document = { letter: 'a', n: 0, deep: { list: [1, { x: null }], text: 'Grüße 世界 🎼\u0000' }, yes: true };
        const made = await mine.post(tests, document);
        assert.match(made.id, UUID);
        assert.deepEqual(made, { id: made.id, ...document });
        assert.deepEqual(await other.getOne(tests, { query: { id: made.id } }), made);
      });

      test('getAll without options lists all, and nothing of a collection that is not there', async () => {
        for (const [n, letter] of ['b', 'c', 'd', 'e'].entries()) await mine.post(tests, { letter, n: n + 1, even: n % 2 === 1 });
        assert.deepEqual(byLetter(await mine.getAll(tests)), ['a', 'b', 'c', 'd', 'e']);
        assert.deepEqual(await mine.getAll(`nothing-${gateway}`), []);
      });

      test('getAll takes query, fields, order and limit', async () => {
        assert.deepEqual(byLetter(await mine.getAll(tests, { query: { n: { $gte: 1, $lt: 3 } } })), ['b', 'c']);
        const rows = await mine.getAll(tests, { query: { n: { $gt: 0 } }, fields: ['letter'], order: ['desc(n)'], limit: 2 });
        assert.deepEqual(rows.map((row) => Object.keys(row).sort()), [['id', 'letter'], ['id', 'letter']]);
        assert.deepEqual(letters(rows), ['e', 'd']);
        assert.deepEqual(letters(await mine.getAll(tests, { order: ['asc(even)', 'desc(n)'] })), ['a', 'd', 'b', 'e', 'c']);
      });

      test('getAll finds by what canhazdb could not: 0, null, objects, arrays, absence, nested fields', async () => {
        const find = async (query) => byLetter(await mine.getAll(tests, { query }));
        assert.deepEqual(await find({ n: { $eq: 0 } }), ['a']);
        assert.deepEqual(await find({ n: { $gt: 0, $lt: 3 } }), ['b', 'c']);
        assert.deepEqual(await find({ deep: null }), ['b', 'c', 'd', 'e']);
        assert.deepEqual(await find({ deep: { $exists: false } }), ['b', 'c', 'd', 'e']);
        assert.deepEqual(await find({ deep: { $null: true } }), ['b', 'c', 'd', 'e']);
        assert.deepEqual(await find({ 'deep.list': [1, { x: null }] }), ['a']);
        assert.deepEqual(await find({ 'deep.list': 1 }), ['a']);
        assert.deepEqual(await find({ even: { $ne: true } }), ['a', 'b', 'd']);
        assert.deepEqual(await find({ $or: [{ letter: { $in: ['a', 'zz'] } }, { letter: { $regex: '^d' } }] }), ['a', 'd']);
      });

      test('getOne gives the first of an order, undefined if there is none', async () => {
        assert.equal((await mine.getOne(tests, { order: ['desc(letter)'] })).letter, 'e');
        assert.deepEqual(Object.keys(await mine.getOne(tests, { query: { letter: 'b' }, fields: ['n'] })).sort(), ['id', 'n']);
        assert.equal(await mine.getOne(tests, { query: { letter: 'z' } }), undefined);
        assert.equal(await mine.getOne(`nothing-${gateway}`), undefined);
      });

      test('count with and without a query', async () => {
        assert.deepEqual(await mine.count(tests), { documentCount: 5 });
        assert.deepEqual(await mine.count(tests, { query: { n: { $lte: 1 } } }), { documentCount: 2 });
        assert.deepEqual(await mine.count(`nothing-${gateway}`), { documentCount: 0 });
      });

      test('put replaces all but the id of what matches, and says how many', async () => {
        const before = await mine.getOne(tests, { query: { letter: 'b' } });
        assert.deepEqual(await mine.put(tests, { letter: 'B', n: 1 }, { query: { letter: 'b' } }), { changes: 1 });
        assert.deepEqual(await other.getOne(tests, { query: { letter: 'B' } }), { id: before.id, letter: 'B', n: 1 });
        assert.deepEqual(await mine.put(tests, { letter: 'x' }, { query: { letter: 'nobody' } }), { changes: 0 });
        assert.deepEqual(await mine.put(`nothing-${gateway}`, { letter: 'x' }, { query: { letter: 'b' } }), { changes: 0 });
      });

      test('put with the id in body and query, as its documentation shows it', async () => {
        const made = await mine.post(tests, { letter: 'own', n: 9 });
        const changed = await mine.put(tests, { id: made.id, letter: 'own', b: 2 }, { query: { id: made.id } });
        assert.deepEqual(changed, { changes: 1 });
        assert.deepEqual(await mine.getOne(tests, { query: { id: made.id } }), { id: made.id, letter: 'own', b: 2 });
        assert.deepEqual(await mine.delete(tests, { query: { id: made.id } }), { changes: 1 });
      });

      test('patch merges into what matches; null removes; without a query into all', async () => {
        assert.deepEqual(await mine.patch(tests, { deep: { text: null, more: 1 } }, { query: { letter: 'a' } }), { changes: 1 });
        const patched = await other.getOne(tests, { query: { letter: 'a' } });
        assert.deepEqual(patched.deep, { list: [1, { x: null }], more: 1 });
        assert.deepEqual(await mine.patch(tests, { seen: true }), { changes: 5 });
        assert.deepEqual(await mine.count(tests, { query: { seen: true } }), { documentCount: 5 });
      });

      test('delete by query, then of all', async () => {
        assert.deepEqual(await mine.delete(tests, { query: { n: { $in: [2, 3] } } }), { changes: 2 });
        assert.deepEqual(byLetter(await other.getAll(tests)), ['B', 'a', 'e']);
        assert.deepEqual(await mine.delete(tests), { changes: 3 });
        assert.deepEqual(await mine.count(tests), { documentCount: 0 });
        assert.deepEqual(await mine.delete(tests), { changes: 0 });
      });

      test('put without a query replaces all', async () => {
        for (const n of [1, 2, 3]) await mine.post(tests, { n });
        assert.deepEqual(await mine.put(tests, { all: 'same' }), { changes: 3 });
        const rows = await mine.getAll(tests);
        assert.deepEqual(rows.map(({ id, ...rest }) => rest), [{ all: 'same' }, { all: 'same' }, { all: 'same' }]);
        assert.equal(new Set(rows.map((row) => row.id)).size, 3);
      });

      test('what is wrong over the socket comes back as canhazdb told it: the message, the request, no more', async () => {
        const query = { n: { $what: 1 } };
        const error = await refusal(mine.getAll(tests, { query, limit: 2 }));
        assert.equal(error.message, 'canhazdb error');
        assert.equal(typeof error.data.error, 'string');
        assert.match(error.data.error, /\$what/);
        assert.deepEqual(error.data, { error: error.data.error, type: 'GET', collectionId: tests, query, limit: 2 });
        const single = await refusal(mine.getOne(tests, { order: ['up(n)'] }));
        assert.deepEqual(single.data, { error: single.data.error, type: 'GET', collectionId: tests, limit: 1, order: ['up(n)'] });
      });

      test('what is wrong over HTTPS is 400 with a code, where canhazdb had 500', async () => {
        const query = { n: { $what: 1 } };
        for (const call of ['count', 'delete']) await expectHttp(mine[call](tests, { query }), 400, 'bad_query');
        for (const call of ['put', 'patch']) {
          const data = await expectHttp(mine[call](tests, { a: 1 }, { query }), 400, 'bad_query');
          assert.match(data.place + data.detail, /what/);
        }
        for (const body of [null, 5, 'text'])
          await expectHttp(mine.put(tests, body, { query: { n: 1 } }), 400, 'wrong_type');
        await expectHttp(mine.count('under_score'), 422, 'bad_name');
        assert.deepEqual(await mine.count(tests), { documentCount: 3 }, 'nothing was changed');
      });

      test('post of what is no document, or is there already, gives undefined: the client loses the error', async () => {
        const id = randomUUID();
        assert.equal((await mine.post(tests, { id, n: 1 })).id, id);
        assert.equal(await mine.post(tests, { id, n: 2 }), undefined);
        assert.equal((await mine.getOne(tests, { query: { id } })).n, 1);
        assert.equal(await mine.post('../evil', { n: 1 }), undefined);
        assert.equal(await mine.post(tests, null), undefined);
      });
    });
  }

  describe('the client itself', () => {
    test('refuses unknown options by name, and undefined in a query', async () => {
      const unknown = async (call, ...args) => {
        const error = await refusal(one[call]('tests', ...args));
        assert.equal(error.message, 'canhazdb error: unknown keys a,b');
      };
      for (const call of ['count', 'getAll', 'getOne', 'delete']) await unknown(call, { a: 1, b: 2 });
      for (const call of ['post', 'put', 'patch']) await unknown(call, {}, { a: 1, b: 2 });
      const error = await refusal(one.count('tests', { query: { a: undefined } }));
      assert.equal(error.message, 'canhazdb:client can not serialise an object with undefined');
      assert.equal((await refusal(one.lock('tests'))).message, 'canhazdb error: keys must be array but got tests');
    });

    test('with disableNotify everything that goes over HTTPS works', async () => {
      const plain = connect(1, { disableNotify: true });
      const calls = bounded(plain);
      const made = await calls.post('plain', { n: 1 });
      assert.match(made.id, UUID);
      assert.deepEqual(await calls.count('plain', { query: { n: 1 } }), { documentCount: 1 });
      assert.deepEqual(await calls.put('plain', { n: 2 }, { query: { n: 1 } }), { changes: 1 });
      assert.deepEqual(await calls.patch('plain', { m: 2 }), { changes: 1 });
      assert.equal(await calls.unlock(await calls.lock(['plain'])), true);
      assert.deepEqual(await calls.delete('plain', { query: { m: 2 } }), { changes: 1 });
      for (const call of ['getAll', 'getOne']) assert.match((await refusal(calls[call]('plain'))).message, /of null/);
      assert.match((await refusal(plain.on('x', () => {}))).message, /notify was disable/);
      assert.throws(() => plain.off('x', () => {}), /notify was disable/);
      assert.equal(plain.close(), undefined);
    });

    test('without a client certificate nothing is answered', async () => {
      const stranger = connect(1, { tls: { ca: cluster.tls.ca }, disableNotify: true });
      await expectHttp(bounded(stranger).count('tests-1'), 403, 'certificate_required');
    });
  });

  describe('locks', () => {
    /** Asks for a lock without waiting: whether it is held by somebody, without a moment in between. */
    const held = async (key) => {
      const answer = await cluster.post('/_/locks', [key], { 'x-lock-strategy': 'fail' });
      if (answer.status === 423) return true;
      assert.equal(answer.status, 200, answer.text);
      assert.equal((await cluster.send('DELETE', `/_/locks/${answer.json.id}`)).status, 200);
      return false;
    };

    test('lock gives an id, unlock true, through any gateway; what is unknown is 404', async () => {
      const id = await one.lock(['free']);
      assert.match(id, UUID);
      assert.equal(await held('free'), true);
      assert.equal(await two.unlock(id), true);
      assert.equal(await held('free'), false);
      await expectHttp(two.unlock(id), 404, 'not_found');
      await expectHttp(one.unlock(randomUUID()), 404, 'not_found');
    });

    test('a second lock waits for the first, in another gateway, first come, first served', async () => {
      const order = [];
      const first = await one.lock(['queue', 'another']);
      const waiting = two.lock(['queue']).then(async (id) => {
        order.push('second');
        await two.unlock(id);
      });
      await until('the second waits', ANSWER_MS, async () => {
        const { json } = await cluster.get('/system.locks');
        return json.filter((row) => JSON.stringify(row).includes('queue')).length === 2;
      });
      const third = one.lock(['queue']).then((id) => {
        order.push('third');
        return id;
      });
      assert.deepEqual(order, []);
      assert.equal(await two.unlock(first), true);
      await waiting;
      assert.equal(await one.unlock(await third), true);
      assert.deepEqual(order, ['second', 'third']);
    });

    test('its holder writes with lockId, others are refused with lockStrategy fail', async () => {
      await one.post('safe', { n: 1 });
      const lockId = await one.lock(['safe']);
      assert.deepEqual(await two.put('safe', { n: 2 }, { query: {}, lockId }), { changes: 1 });
      assert.deepEqual(await one.patch('safe', { m: 2 }, { lockId, lockStrategy: 'fail' }), { changes: 1 });
      await expectHttp(two.put('safe', { n: 3 }, { lockStrategy: 'fail' }), 423, 'locked');
      await expectHttp(two.patch('safe', { n: 3 }, { lockStrategy: 'fail' }), 423, 'locked');
      await expectHttp(two.delete('safe', { lockStrategy: 'fail' }), 423, 'locked');
      const [{ id, ...rest }] = await two.getAll('safe');
      assert.deepEqual(rest, { n: 2, m: 2 }, 'reading goes on, and nothing was changed by others');
      assert.deepEqual(await one.delete('safe', { query: { id }, lockId }), { changes: 1 });
      assert.equal(await one.unlock(lockId), true);
      assert.deepEqual(await two.delete('safe', { lockStrategy: 'fail' }), { changes: 0 });
    });

    test('others wait, and write once it is free', async () => {
      await one.post('slow', { n: 1 });
      const lockId = await one.lock(['slow']);
      let written = 0;
      const writes = [
        two.patch('slow', { m: 1 }),
        two.post('slow', { n: 2 }),
        one.put('slow', { n: 3 }, { query: { n: 1 }, lockStrategy: 'wait' }),
      ].map((write) => write.then((answer) => {
        written++;
        return answer;
      }));
      assert.equal(await held('slow'), true);
      assert.equal(written, 0);
      assert.deepEqual(await one.count('slow', { query: { m: 1 } }), { documentCount: 0 });
      assert.equal(await one.unlock(lockId), true);
      const [patched, posted, put] = await Promise.all(writes);
      assert.ok(patched.changes >= 1);
      assert.match(posted.id, UUID);
      assert.deepEqual(put, { changes: 1 });
    });

    test('a lock of one document leaves the others alone', async () => {
      const document = await one.post('single', { n: 1 });
      const other = await one.post('single', { n: 2 });
      const lockId = await one.lock([`single.${document.id}`]);
      await expectHttp(two.patch('single', { x: 1 }, { query: { n: 1 }, lockStrategy: 'fail' }), 423, 'locked');
      assert.deepEqual(await two.patch('single', { x: 1 }, { query: { n: 2 }, lockStrategy: 'fail' }), { changes: 1 });
      assert.deepEqual(await two.getOne('single', { query: { id: document.id } }), document);
      assert.equal((await two.getOne('single', { query: { id: other.id } })).x, 1);
      assert.equal(await one.unlock(lockId), true);
      assert.deepEqual(await two.patch('single', { x: 2 }, { lockStrategy: 'fail' }), { changes: 2 });
    });

    test('bodies that stopped canhazdb are refused, and locks go on', async () => {
      for (const [body, code] of [['{', 'invalid_json'], ['', 'empty_body'], ['{}', 'wrong_type'], ['"text"', 'wrong_type'], ['[5]', 'wrong_type']]) {
        const answer = await cluster.send('POST', '/_/locks', { body });
        assert.deepEqual([answer.status, answer.json?.code], [400, code], `${body}: ${answer.text}`);
      }
      assert.equal(await one.unlock(await one.lock(['after'])), true);
    });
  });

  describe('notifications', () => {
    /** Listens, and tells what came up to a last write of its own, so that "no more than" needs no waiting. */
    async function listen(client, pattern) {
      const events = [];
      const handler = (...event) => events.push(event);
      await client.on(pattern, handler);
      const stop = () => client.off(pattern, handler);
      return { events, handler, stop, paths: () => events.map(([path]) => path) };
    }

    /* Events of one shard come in order, those of several in any: first as many as are `wanted`, of all ears or of each,
     * then one more to show that nothing else comes. */
    async function sentinel(collection, wanted, ...ears) {
      const has = (ear, n) => ear.events.length >= (Array.isArray(wanted) ? wanted[n] : wanted);
      await until(`${wanted} events of ${collection}`, ANSWER_MS, () => ears.every(has));
      const { id } = await one.post(collection, { last: true });
      const came = (ear) => ear.events.some(([, , resource]) => resource === id);
      await until(`the event of ${collection}/${id}`, ANSWER_MS, () => ears.every(came));
      for (const ear of ears) {
        const last = ear.events.findIndex(([, , resource]) => resource === id);
        ear.events.splice(last, 1);
      }
    }

    test('each write is told once, whichever gateway took it, with path, collection, id and pattern', async () => {
      const ears = [await listen(one, 'POST:/told/.*'), await listen(two, 'POST:/told/.*')];
      const made = [];
      for (let n = 0; n < 8; n++) made.push(await (n % 2 ? one : two).post('told', { n }));
      await sentinel('told', made.length, ...ears);
      for (const ear of ears) {
        const wanted = made.map(({ id }) => [`POST:/told/${id}`, 'told', id, 'POST:/told/.*']);
        const sorted = (rows) => rows.map((row) => row.join(' ')).sort();
        assert.deepEqual(sorted(ear.events), sorted(wanted));
        assert.ok(ear.events.every(([path]) => path.length === 'POST:/told/'.length + 36));
        await ear.stop();
      }
    });

    test('writes by query and batches are told per document that changed; what changed nothing is not told', async () => {
      const ear = await listen(two, ':/counted/');
      const batch = await cluster.post('/counted', [{ n: 1 }, { n: 2 }, { n: 3 }]);
      const ids = batch.json.map((item) => item.document.id);
      assert.deepEqual(await one.put('counted', { n: 2, p: 1 }, { query: { n: 2 } }), { changes: 1 });
      assert.deepEqual(await one.patch('counted', { q: 1 }, { query: { n: { $gte: 2 } } }), { changes: 2 });
      assert.deepEqual(await one.patch('counted', { q: 1 }, { query: { n: 77 } }), { changes: 0 });
      assert.deepEqual(await two.delete('counted', { query: { n: 1 } }), { changes: 1 });
      const wanted = [...ids.map((id) => `POST:/counted/${id}`), `PUT:/counted/${ids[1]}`, `PATCH:/counted/${ids[1]}`,
        `PATCH:/counted/${ids[2]}`, `DELETE:/counted/${ids[0]}`];
      await sentinel('counted', wanted.length, ear);
      assert.deepEqual(ear.paths().sort(), wanted.sort());
      await ear.stop();
    });

    test('patterns are regular expressions, found anywhere in the path; several at once', async () => {
      const { id } = await one.post('shapes', { n: 1 });
      const patterns = ['.*:/shapes/.*', `.*:/shapes/${id}`, 'shapes', '(PUT|PATCH):/shapes/.*', 'DELETE:/shapes/.*', '^POST:/shape$'];
      const ears = [];
      for (const pattern of patterns) ears.push(await listen(one, pattern));
      await two.patch('shapes', { n: 2 }, { query: { id } });
      await two.put('shapes', { n: 3 }, { query: { id } });
      await two.delete('shapes', { query: { id } });
      await sentinel('shapes', 3, ears[0], ears[2]);
      assert.deepEqual(ears.map((ear) => ear.events.length), [3, 3, 3, 2, 1, 0]);
      assert.deepEqual(ears[3].paths(), [`PATCH:/shapes/${id}`, `PUT:/shapes/${id}`]);
      assert.ok(ears.every((ear, n) => ear.events.every(([, , , pattern]) => pattern === patterns[n])));
      for (const ear of ears) await ear.stop();
    });

    test('off ends it; a pattern may be taken up again; a second handler of one client is called, too', async () => {
      const pattern = 'POST:/quiet/.*';
      const first = await listen(one, pattern);
      const second = await listen(one, pattern);
      const control = await listen(two, pattern);
      await one.post('quiet', { n: 1 });
      await sentinel('quiet', 1, first, second, control);
      assert.deepEqual([first, second, control].map((ear) => ear.events.length), [1, 1, 1]);
      await first.stop();
      await one.post('quiet', { n: 2 });
      await sentinel('quiet', 2, control);
      assert.deepEqual([first, control].map((ear) => ear.events.length), [1, 2]);
      await second.stop();
      const again = await listen(one, pattern);
      await two.post('quiet', { n: 3 });
      await sentinel('quiet', [1, 3], again, control);
      assert.deepEqual([again, control].map((ear) => ear.events.length), [1, 3]);
      await again.stop();
      await control.stop();
    });

    test('a pattern that is no regular expression hurts nobody', async () => {
      await one.on('POST:/([', () => {});
      const ear = await listen(one, 'POST:/fine/.*');
      await two.post('fine', { n: 1 });
      await sentinel('fine', 1, ear);
      assert.equal(ear.events.length, 1);
      await ear.stop();
    });
  });

  describe('while members fail', () => {
    /** What may be refused while a lead is replaced is asked again; a post that was lost gives undefined. */
    const insist = (what, call) => until(what, 40000, async () => {
      const answer = await call();
      if (answer === undefined) throw new Error('undefined');
      return { answer };
    }).then(({ answer }) => answer);

    test('a storage node is killed and comes back: all calls go on, each acknowledged post is told once', async (c) => {
      const seen = [];
      const handler = (path, collection, id) => seen.push(id);
      await one.on('POST:/failing/.*', handler);
      const posted = [];
      const post = async (n) => {
        const { id } = await insist(`post ${n}`, () => (n % 2 ? one : two).post('failing', { n, done: false }));
        posted.push(id);
      };
      for (let n = 0; n < 10; n++) await post(n);
      await c.dev('kill', 'storage-2');
      for (let n = 10; n < 30; n++) await post(n);
      for (const client of [one, two]) {
        const rows = await insist('getAll', () => client.getAll('failing'));
        const ids = new Set(rows.map((row) => row.id));
        assert.ok(posted.every((id) => ids.has(id)), 'what was acknowledged is there');
        assert.equal((await insist('getOne', () => client.getOne('failing', { query: { id: posted[0] } }))).n, 0);
      }
      await insist('patch', () => two.patch('failing', { done: true }, { query: { n: { $lt: 15 } } }));
      const left = await insist('count', () => one.count('failing', { query: { n: { $lt: 15 }, done: { $ne: true } } }));
      assert.deepEqual(left, { documentCount: 0 });
      const lockId = await insist('lock', () => one.lock(['failing']));
      await insist('put', () => two.put('failing', { n: 29, by: 'holder' }, { query: { n: 29 }, lockId }));
      assert.equal(await insist('unlock', () => two.unlock(lockId)), true);
      await c.dev('restart', 'storage-2');
      await c.ready('storage-2');
      for (let n = 30; n < 40; n++) await post(n);
      await until('all events', ANSWER_MS, () => posted.every((id) => seen.includes(id)));
      assert.equal(new Set(seen).size, seen.length, 'none twice');
      await one.off('POST:/failing/.*', handler);
    });

    test('a gateway is restarted: the client connects again by itself and is answered', async (c) => {
      const { id } = await two.post('again', { n: 1 });
      await c.dev('restart', 'gateway-2');
      await c.ready('gateway-2');
      // The client waits 1 to 5 seconds, longer each time, and sends then what it was asked meanwhile.
      const fresh = connect(2);
      assert.equal((await within('a new client', fresh.getOne('again', { query: { id } }))).n, 1);
      assert.equal((await bounded(lasting, RECONNECT_MS).getOne('again', { query: { id } })).n, 1);
      assert.deepEqual(await one.getAll('again'), [{ id, n: 1 }]);
    });
  });
});
