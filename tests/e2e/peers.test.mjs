// Peers on the inner network that do not belong: each is refused, counted, and told of once in the log.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { BUILD, check, must, startCluster, until } from './lib.mjs';

const TARGET = 'storage-1';
const DOWN = 'arbiter-2'; // its key is lent to the rogue

describe('peers that do not belong', () => {
  let cluster;
  let members;

  before(async () => {
    cluster = await startCluster('peers', { arbiters: 2, gateways: 1 });
    await cluster.dev('kill', DOWN);
    members = readFileSync(join(cluster.dir, 'keys/members.yaml'), 'utf8');
  });
  after(() => cluster?.down());

  const memberField = (name, field) => members.match(new RegExp(`name: ${name},.*?${field}: "([^"]*)"`))[1];
  const ownCluster = () => members.match(/^cluster: "([0-9a-f]+)"/m)[1];

  async function rogue(kind, { key = join(cluster.dir, `keys/${DOWN}.key`), cluster: id = ownCluster() } = {}) {
    const out = await must(join(BUILD, 'e2e/rogue-peer'), [
      memberField(TARGET, 'address'), memberField(TARGET, 'public_key'), key, `${cluster.net}.200`, id, kind,
    ]);
    return out.trim();
  }

  const refused = (reason) => cluster.metric(TARGET, `parley_bus_refused_total{reason="${reason}"}`);
  const logged = (reason) => cluster.log(TARGET).split('\n')
    .filter((line) => line.includes('peer_refused') && line.includes(reason)).length;

  /** The rogue comes twice; it is counted each time and logged once. */
  async function checkRefused(reason, kind, options, expected) {
    const before = await refused(reason);
    for (let visit = 0; visit < 2; visit++) assert.match(await rogue(kind, options), expected);
    await until(`${reason} is counted`, 5000, async () => (await refused(reason)) >= before + 2);
    assert.equal(logged(reason), 1, `lines in the log that tell of ${reason}`);
  }

  check(() => cluster, 'an unknown key does not get through the handshake', () =>
    checkRefused('unknown_key', 'join', { key: 'new' }, /^refused$/));

  check(() => cluster, 'a known key with the wrong role gets nothing done', async () => {
    await checkRefused('wrong_role', 'role', {}, /^silence$/);
    assert.ok((await cluster.node(TARGET)).health, 'the cluster map is still the coordinator\'s');
  });

  check(() => cluster, 'another major version is refused in words', () =>
    checkRefused('other_version', 'version', {}, /^answer 107 .*upgrade one of the two/));

  check(() => cluster, 'another cluster is refused in words', () =>
    checkRefused('other_cluster', 'join', { cluster: '00000000deadbeef' }, /^answer 108 .*00000000deadbeef there/));

  check(() => cluster, 'bytes that are no frame are refused', () =>
    checkRefused('malformed', 'garbage', {}, /^silence$/));

  check(() => cluster, 'and the cluster goes on', async () => {
    await cluster.ready(TARGET);
    const answer = await cluster.insist('PUT', '/peers/after', { body: { well: true } });
    assert.equal(answer.status, 201);
  });
});
