// canhazdb's WebSocket protocol, frame by frame, as programs without its client speak it; and frames that are no such thing.
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, describe } from 'node:test';
import WebSocket from 'ws';
import { check, startCluster, until } from './lib.mjs';

const ANSWER_MS = 10000;
const UUID = /^[0-9a-f-]{36}$/;
// Members of requests and answers.
const [STATUS, DOCUMENT, DOCUMENTS, DATA] = [1, 2, 3, 4];
const [LOCK_ID, LOCK_STRATEGY, STRATEGY_FAIL] = [16, 17, 18];
const [COLLECTION, RESOURCE, QUERY, FIELDS, LIMIT, ORDER] = [20, 21, 22, 23, 24, 25];

let cluster;
const test = (what, body) => check(() => cluster, what, body);

class Socket {
  frames = [];
  closed = undefined;

  static async open(gateway = 1, { path = '/', options = {} } = {}) {
    const self = new Socket();
    const url = cluster.url(path, gateway).href.replace('https:', 'wss:');
    self.socket = new WebSocket(url, { ...cluster.tls, ...options });
    self.socket.on('message', (data, binary) => self.frames.push({ binary, text: data.toString() }));
    self.socket.on('close', (code, reason) => (self.closed = { code, reason: reason.toString() }));
    self.socket.on('error', (error) => (self.error = error));
    await until('the socket opens', ANSWER_MS, () => self.error ?? self.socket.readyState === WebSocket.OPEN, 5);
    if (self.error) throw self.error;
    return self;
  }

  send(frame) {
    this.socket.send(typeof frame === 'string' || Buffer.isBuffer(frame) ? frame : JSON.stringify(frame));
  }

  /** Takes the first frame for which `is` holds, which may still have to come. */
  async take(what, is) {
    let found;
    await until(what, ANSWER_MS, () => {
      const at = this.frames.findIndex(({ text }) => is(JSON.parse(text)));
      if (at >= 0) [found] = this.frames.splice(at, 1);
      else if (this.closed) throw new Error(`closed: ${JSON.stringify(this.closed)}`);
      return found;
    }, 5);
    return JSON.parse(found.text);
  }

  answer(id) {
    return this.take(`the answer to ${JSON.stringify(id)}`, ([, echo]) => echo === id);
  }

  event(resource) {
    return this.take(`the event of ${resource}`, ([kind, data]) => kind === 'T' && data[2] === resource);
  }

  async ask(id, command, data) {
    this.send([id, command, data]);
    return this.answer(id);
  }

  async end() {
    this.socket.close();
    await until('the socket closes', ANSWER_MS, () => this.closed);
  }
}

describe('the WebSocket protocol of canhazdb', () => {
  let socket;
  let last = 0;

  before(async () => {
    cluster = await startCluster('canhazdb-socket', { gateways: 2 });
    await cluster.collection('tests');
  });
  after(() => cluster?.down());

  describe('requests', () => {
    test('a socket opens on any path, with a client certificate', async (c) => {
      socket = await Socket.open(1, { path: '/any/thing?x=1' });
      const { cert, key, ...stranger } = c.tls;
      await assert.rejects(Socket.open(1, { options: { cert: undefined, key: undefined, ...stranger } }), /403|certificate/);
    });

    test('POST: ["A", id, {status 201, document}]', async () => {
      const [kind, id, data] = await socket.ask(++last, 'POST', { [COLLECTION]: 'tests', [DOCUMENT]: { a: 1 } });
      assert.deepEqual([kind, id], ['A', last]);
      assert.deepEqual(data, { [STATUS]: 201, [DOCUMENT]: { a: 1, id: data[DOCUMENT].id } });
      assert.match(data[DOCUMENT].id, UUID);
    });

    test('GET: the documents; query, fields, limit, order', async () => {
      for (const a of [2, 3]) await socket.ask(++last, 'POST', { [COLLECTION]: 'tests', [DOCUMENT]: { a, b: a } });
      const all = await socket.ask(++last, 'GET', { [COLLECTION]: 'tests' });
      assert.equal(all[2][STATUS], 200);
      assert.equal(all[2][DOCUMENTS].length, 3);
      const some = await socket.ask(++last, 'GET', { [COLLECTION]: 'tests', [QUERY]: { a: { $gt: 1 } }, [FIELDS]: ['a'], [LIMIT]: 1, [ORDER]: ['desc(a)'] });
      assert.deepEqual(some[2][DOCUMENTS].map(({ id, ...rest }) => rest), [{ a: 3 }]);
      const { id } = all[2][DOCUMENTS][0];
      const one = await socket.ask(++last, 'GET', { [COLLECTION]: 'tests', [RESOURCE]: id });
      assert.deepEqual(one[2][DOCUMENTS], [all[2][DOCUMENTS][0]]);
      assert.deepEqual((await socket.ask(++last, 'GET', { [COLLECTION]: 'nowhere' }))[2], { [STATUS]: 200, [DOCUMENTS]: [] });
    });

    test('ids of requests come back as they were, texts too; binary frames and pieces are taken', async () => {
      const [, id] = await socket.ask('mine', 'GET', { [COLLECTION]: 'tests', [LIMIT]: 1 });
      assert.equal(id, 'mine');
      socket.send(Buffer.from(JSON.stringify([77, 'GET', { [COLLECTION]: 'tests', [LIMIT]: 1 }])));
      assert.equal((await socket.answer(77))[2][STATUS], 200);
      const text = JSON.stringify([78, 'GET', { [COLLECTION]: 'tests', [QUERY]: { text: 'Grüße 🎼' } }]);
      for (const [n, part] of [...text].entries()) socket.socket.send(part, { fin: n === [...text].length - 1 });
      assert.deepEqual((await socket.answer(78))[2][DOCUMENTS], []);
      assert.ok(socket.frames.every((frame) => !frame.binary));
    });

    test('many requests at once are all answered', async () => {
      const ids = Array.from({ length: 50 }, (_, n) => 1000 + n);
      for (const id of ids) socket.send([id, id % 2 ? 'GET' : 'POST', { [COLLECTION]: 'many', ...(id % 2 ? {} : { [DOCUMENT]: { id: `n${id}` } }) }]);
      for (const id of ids) assert.equal((await socket.answer(id))[2][STATUS], id % 2 ? 200 : 201);
    });

    test('errors: status and data as canhazdb gave them, only what was sent', async () => {
      const query = { n: { $what: 1 } };
      const bad = (await socket.ask(++last, 'GET', { [COLLECTION]: 'tests', [QUERY]: query, [LIMIT]: 1 }))[2];
      assert.deepEqual(bad, { [STATUS]: 400, [DATA]: { error: bad[DATA].error, type: 'GET', collectionId: 'tests', query, limit: 1 } });
      const order = (await socket.ask(++last, 'GET', { [COLLECTION]: 'tests', [ORDER]: ['up(n)'] }))[2];
      assert.deepEqual(order, { [STATUS]: 400, [DATA]: { error: order[DATA].error, type: 'GET', collectionId: 'tests', order: ['up(n)'] } });
      const fields = (await socket.ask(++last, 'GET', { [COLLECTION]: 'tests', [FIELDS]: 5 }))[2];
      assert.deepEqual([fields[STATUS], fields[DATA].type, fields[DATA].fields], [400, 'GET', 5]);
      for (const document of [null, 5, 'text', [1, 2]]) {
        const none = (await socket.ask(++last, 'POST', { [COLLECTION]: 'tests', [DOCUMENT]: document }))[2];
        assert.deepEqual(none, { [STATUS]: 400, [DATA]: { error: none[DATA].error, type: 'POST', collectionId: 'tests' } }, JSON.stringify(document));
      }
      const batch = (await socket.ask(++last, 'POST', { [COLLECTION]: 'batch', [DOCUMENT]: [{ id: 'a' }, { id: 'b' }] }))[2];
      assert.deepEqual([batch[STATUS], batch[DOCUMENT].map((item) => item.document)], [201, [{ id: 'a' }, { id: 'b' }]]);
      for (const name of ['../../evil', 'under_score', '', 5]) {
        const evil = (await socket.ask(++last, 'POST', { [COLLECTION]: name, [DOCUMENT]: {} }))[2];
        assert.ok(evil[STATUS] === 422 || evil[STATUS] === 400, JSON.stringify(evil));
        assert.equal(evil[DATA].type, 'POST');
      }
    });

    test('commands that are none: "R", COMMAND_NOT_FOUND', async () => {
      for (const command of ['PUT', 'PATCH', 'DELETE', 'COUNT', 'nonsense', '', 11, null, {}])
        assert.deepEqual(await socket.ask(++last, command, { [COLLECTION]: 'tests' }), ['R', last, 'COMMAND_NOT_FOUND'], String(command));
    });

    test('locks: POST with a lock id, and with the strategy "fail"', async (c) => {
      const { json } = await c.post('/_/locks', ['tests']);
      const refused = (await socket.ask(++last, 'POST', { [COLLECTION]: 'tests', [DOCUMENT]: { l: 1 }, [LOCK_STRATEGY]: STRATEGY_FAIL }))[2];
      assert.deepEqual([refused[STATUS], refused[DATA].type], [423, 'POST']);
      const held = (await socket.ask(++last, 'POST', { [COLLECTION]: 'tests', [DOCUMENT]: { l: 2 }, [LOCK_ID]: json.id }))[2];
      assert.equal(held[STATUS], 201);
      socket.send([++last, 'POST', { [COLLECTION]: 'tests', [DOCUMENT]: { l: 3 } }]);
      const reading = await socket.ask(++last, 'GET', { [COLLECTION]: 'tests', [QUERY]: { l: { $exists: true } } });
      assert.deepEqual(reading[2][DOCUMENTS].map((row) => row.l), [2]);
      assert.equal((await c.send('DELETE', `/_/locks/${json.id}`)).status, 200);
      assert.equal((await socket.answer(last - 1))[2][STATUS], 201);
    });
  });

  describe('events', () => {
    test('NOTIFY and UNNOTIFY are answered, also when there is nothing to do; an event is ["T", [path, collection, id, pattern]]', async (c) => {
      const pattern = 'POST:/heard/.*';
      for (let again = 0; again < 2; again++) assert.deepEqual((await socket.ask(++last, 'NOTIFY', pattern)).slice(0, 2), ['A', last]);
      const id = randomUUID();
      await c.post('/heard', { id }, {}, { gateway: 2 });
      assert.deepEqual(await socket.event(id), ['T', [`POST:/heard/${id}`, 'heard', id, pattern]]);
      for (let again = 0; again < 2; again++) assert.deepEqual((await socket.ask(++last, 'UNNOTIFY', pattern)).slice(0, 2), ['A', last]);
      await socket.ask(++last, 'NOTIFY', 'POST:/heard/last');
      await c.post('/heard', { n: 1 });
      await c.post('/heard', { id: 'last' });
      await socket.event('last');
      assert.deepEqual(socket.frames.filter(({ text }) => text.startsWith('["T"')), [], 'neither twice nor after the end');
    });

    test('one event for each pattern that fits', async (c) => {
      const mine = await Socket.open(2);
      for (const [n, pattern] of ['/both/', 'POST:/both', '^PUT'].entries()) await mine.ask(n, 'NOTIFY', pattern);
      await c.post('/both', { id: 'x' });
      const patterns = [(await mine.event('x'))[1][3], (await mine.event('x'))[1][3]];
      assert.deepEqual(patterns.sort(), ['/both/', 'POST:/both']);
      await mine.end();
    });

    test('system.notifys lists who listens, and no longer when the socket has ended', async (c) => {
      const mine = await Socket.open(1);
      const pattern = `POST:/listed-${randomUUID()}/`;
      await mine.ask(1, 'NOTIFY', pattern);
      const listed = async () => (await c.get('/system.notifys', { gateway: 2 })).json.filter((row) => JSON.stringify(row).includes(pattern));
      await until('it is listed', ANSWER_MS, async () => (await listed()).length === 1);
      await mine.end();
      await until('it is gone', ANSWER_MS, async () => (await listed()).length === 0);
    });
  });

  describe('frames that are none', () => {
    const table = [
      ['no JSON', 'nonsense'], ['cut off', '[1,"GET"'], ['empty', ''], ['null', 'null'], ['a number', '5'], ['a text', '"GET"'], ['an object', '{"a":1}'],
      ['an empty array', '[]'], ['invalid UTF-8', Buffer.from([0x5b, 0x31, 0x2c, 0x22, 0xff, 0x22, 0x5d])],
      ['a request without data', '[1,"GET"]'], ['data that is null', '[1,"GET",null]'], ['data that is a list', '[1,"GET",[]]'],
      ['a pattern that is no text', '[1,"NOTIFY",5]'], ['too deep', `[1,"GET",${'['.repeat(5000)}${']'.repeat(5000)}]`],
    ];

    for (const [what, frame] of table) {
      test(`${what}: that connection gets an error, the others go on`, async () => {
        const [bad, good] = [await Socket.open(1), await Socket.open(1)];
        bad.send(frame);
        const told = await until('an error', ANSWER_MS, () => bad.closed ?? bad.frames[0]);
        if (told.text !== undefined) {
          const [kind, , data] = JSON.parse(told.text);
          assert.ok({ R: true, A: data[STATUS] >= 400, E: data.status >= 400 && data.code }[kind], told.text);
        } else assert.ok(told.code >= 1002 && told.code < 5000 && told.code !== 1006, JSON.stringify(told));
        assert.equal((await good.ask(1, 'GET', { [COLLECTION]: 'tests', [LIMIT]: 1 }))[2][STATUS], 200);
        await good.end();
        bad.socket.terminate();
      });
    }

    test('too large: refused with a reason, not buffered without end', async (c) => {
      const bad = await Socket.open(1);
      const { json } = await c.get('/_/limits');
      bad.send(`[1,"POST",{"20":"tests","2":{"a":"${'x'.repeat(json.max_request_bytes)}"}}]`);
      const end = await until('the end', ANSWER_MS, () => bad.closed);
      assert.ok([1009, 1006].includes(end.code), JSON.stringify(end));
      assert.equal((await socket.ask(++last, 'GET', { [COLLECTION]: 'tests', [LIMIT]: 1 }))[2][STATUS], 200);
    });

    test('connections that end in the middle of a frame, or say nothing', async () => {
      const cut = await Socket.open(1);
      cut.socket._socket.write(Buffer.from([0x81, 0xfe, 0x10, 0x00, 1, 2, 3, 4, 5]));
      cut.socket.terminate();
      const reserved = await Socket.open(1);
      reserved.socket._socket.write(Buffer.from([0xf3, 0x80, 1, 2, 3, 4]));
      const end = await until('the end', ANSWER_MS, () => reserved.closed);
      assert.ok([1002, 1006].includes(end.code), JSON.stringify(end));
      assert.equal((await socket.ask(++last, 'GET', { [COLLECTION]: 'tests', [LIMIT]: 1 }))[2][STATUS], 200);
    });

    test('ping is answered, close is answered', async () => {
      const mine = await Socket.open(2);
      let pong;
      mine.socket.on('pong', (data) => (pong = data.toString()));
      mine.socket.ping('there?');
      await until('the pong', ANSWER_MS, () => pong === 'there?');
      mine.socket.close(1000, 'done');
      await until('the end', ANSWER_MS, () => mine.closed);
      assert.equal(mine.closed.code, 1000);
    });
  });
});
