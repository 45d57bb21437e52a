// The network is cut in two, and healed. Needs root, for the rules that cut loopback addresses off from each other.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { after, before, describe } from 'node:test';
import { check, startCluster, until } from './lib.mjs';

const CAN_CUT = process.getuid() === 0
  && spawnSync('nft', ['list', 'tables'], { env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin:/sbin` } }).status === 0;
const DOCUMENTS = 8; // enough for leads on both sides
const OVERWRITTEN = 150; // times; more than are offered to a lead at once
const NODES = ['storage-1', 'storage-2', 'storage-3'];
const FEW = 'storage-1,gateway-1';
const MANY = 'coordinator-1,storage-2,storage-3,gateway-2,arbiter-1';
const SIDE_FEW = { gateway: 1 };
const SIDE_MANY = { gateway: 2 };
const CUT_NOTICED_MS = 15000;
const HEALED_MS = 40000;

describe('a partition', { skip: CAN_CUT ? false : 'cutting the network needs root and nft' }, () => {
  let cluster;
  const first = new Map(); // id -> revision before the cut
  const ids = Array.from({ length: DOCUMENTS }, (_, i) => `d${i}`);

  before(async () => {
    cluster = await startCluster('partition', {});
    const policy = { strategy: 'merge', paths: { tags: 'set' } };
    await cluster.collection('open', { mode: 'available', policy, retainMs: 3600000 });
    await cluster.collection('strict');
    for (const id of ids) {
      const body = { few: 0, many: 0, tags: ['both'] };
      first.set(id, (await cluster.insist('PUT', `/open/${id}`, { body })).etag);
      await cluster.insist('PUT', `/strict/${id}`, { body: { at: 'start' } });
    }
    // An acknowledgement needs two of three: a branch of what the third has not seen would be a root of its own.
    for (const name of NODES) {
      await until(`${name} has all documents`, 10000,
        async () => (await cluster.metric(name, 'parley_documents')) === 2 * DOCUMENTS);
    }
    await cluster.dev('partition', FEW, MANY);
  });
  after(() => cluster?.down()); // which heals, too

  check(() => cluster, 'the side with most replicas goes on by itself', async () => {
    for (const id of ids) {
      const strict = { ...SIDE_MANY, body: { at: 'many' } };
      await cluster.insist('PUT', `/strict/${id}`, strict, [200], CUT_NOTICED_MS);
      // Until there is a new lead, this side takes branches, too.
      const headers = { 'If-Match': first.get(id), 'Idempotency-Key': `many-${id}` };
      const edit = { ...SIDE_MANY, headers, body: { many: 1 } };
      await cluster.insist('PATCH', `/open/${id}`, edit, [200, 202], CUT_NOTICED_MS);
    }
  });

  check(() => cluster, 'the other side neither writes nor reads what is consistent', async () => {
    const answers = await Promise.all(ids.flatMap((id) => [
      cluster.put(`/strict/${id}`, { at: 'few' }, {}, SIDE_FEW),
      cluster.get(`/strict/${id}`, SIDE_FEW),
    ]));
    for (const answer of answers) {
      assert.equal(answer.status, 503, answer.text);
      assert.ok(answer.headers['retry-after'], 'a refusal says when to come again');
    }
  });

  check(() => cluster, 'the other side takes branches of what is available', async () => {
    const requests = ids.map(async (id) => {
      const headers = { 'If-Match': first.get(id), 'Idempotency-Key': `few-${id}` };
      const options = { ...SIDE_FEW, headers, body: { few: 1, many: 0, tags: ['both', 'few'] } };
      const answer = await cluster.insist('PUT', `/open/${id}`, options, [202], CUT_NOTICED_MS);
      assert.match(answer.etag, /^"?2-/, 'a branch has a revision of its own');
    });
    await Promise.all(requests);
  });

  check(() => cluster, 'the other side overwrites a document many times', async () => {
    const versions = Array.from({ length: OVERWRITTEN }, (_, i) => i + 1);
    const made = await Promise.all(versions.map(async (version) =>
      (await cluster.insist('PUT', '/open/often', { ...SIDE_FEW, body: { version } }, [202], CUT_NOTICED_MS)).etag));
    const generations = made.map((etag) => parseInt(etag.replace('"', ''), 10)).sort((a, b) => a - b);
    assert.deepEqual(generations, versions, 'each is made on the one before');
  });

  check(() => cluster, 'healed, both sides\' writes are in every document, on every replica', async () => {
    await cluster.dev('heal');
    const expected = { few: 1, many: 1, tags: ['both', 'few'] };
    const fits = (body) => body.few === expected.few && body.many === expected.many
      && [...body.tags].sort().join() === expected.tags.join();
    for (const id of ids) {
      await until(`${id} is merged`, HEALED_MS, async () => fits((await cluster.get(`/open/${id}`)).json));
    }
    for (const name of NODES) {
      await until(`${name} has no open conflict`, HEALED_MS,
        async () => (await cluster.metric(name, 'parley_conflicts_open')) === 0);
      await until(`${name} has an empty outbox`, HEALED_MS,
        async () => (await cluster.metric(name, 'parley_outbox_entries')) === 0);
    }
    assert.match((await cluster.get('/open/often')).etag, new RegExp(`^"?${OVERWRITTEN}-`), 'each was ordered after its parent');
    for (let round = 0; round < 12; round++) {
      const id = ids[round % ids.length];
      const { json } = await cluster.get(`/open/${id}?consistency=any`, { gateway: 1 + (round % 2) });
      assert.ok(fits(json), `any replica: ${JSON.stringify(json)}`);
    }
  });

  check(() => cluster, 'the resolutions are on record', async () => {
    const { json } = await cluster.get('/_/conflicts?collection=open&state=resolved');
    assert.deepEqual(json.map((row) => row.id).sort(), ids, JSON.stringify(json).slice(0, 800));
  });

  check(() => cluster, 'what was consistent is what the majority wrote', async () => {
    for (const id of ids) {
      const { json } = await cluster.insist('GET', `/strict/${id}`, SIDE_FEW);
      assert.equal(json.at, 'many', id);
    }
    const { json } = await cluster.get('/_/conflicts?collection=strict');
    assert.deepEqual(json, []);
  });
});
