// What README.md promises to somebody who has just cloned the repository, done word by word in a fresh clone; then what
// the other documents tell to type, in the same cluster.
import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, it } from 'node:test';
import { ROOT, choosePlace, must, run } from './lib.mjs';

const RUN_MS = 400000;
const BLOCK_MS = 60000;

let clone;

// The user's own settings must not lead the clone to another cluster. The build may use the whole machine.
const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('PARLEY_') && name !== 'NODE_TEST_CONTEXT'));
env.MAKEFLAGS = '-j2';
delete env.MAKELEVEL;

async function shell(text, timeoutMs = BLOCK_MS) {
  const { code, out } = await run('bash', ['-e', '-c', text], { cwd: clone, env, timeoutMs });
  assert.equal(code, 0, `${text}\n--- ended with ${code} and said:\n${out}`);
  return out;
}

// In this order: README makes the file that the others' curl lines use.
const DOCUMENTS = ['README.md', 'docs/native-api.md', 'docs/conflicts.md', 'docs/operations.md'];

function shellBlocks(document) {
  return [...readFileSync(join(ROOT, document), 'utf8').matchAll(/^```sh\n(.*?)^```$/gms)].map((found) => found[1]);
}

describe('README', () => {
  before(async () => {
    clone = mkdtempSync(join(tmpdir(), 'parley-e2e-readme-'));
    await must('git', ['clone', '--quiet', ROOT, clone]);
    // Ports and addresses of its own, so that a cluster that runs here already is left alone; the download is shared.
    const place = await choosePlace();
    mkdirSync(join(clone, '.dev'));
    writeFileSync(join(clone, '.dev/topology'), `port_base=${place.base}\nnet=${place.net}\n`);
    const cache = join(ROOT, '.dev/cache');
    if (existsSync(cache)) cpSync(cache, join(clone, '.dev/cache'), { recursive: true });
  });
  after(async () => {
    await run('deploy/dev-cluster', ['down'], { cwd: clone, env });
    rmSync(clone, { recursive: true, force: true });
  });

  it('make run builds, starts, loads, shows a conflict, and its three curl lines work when pasted', async (t) => {
    const begun = Date.now();
    const out = await shell('make run', RUN_MS);
    t.diagnostic(`make run took ${Math.round((Date.now() - begun) / 1000)} s, the build included`);
    const lines = out.split('\n').filter((line) => line.startsWith('  curl '));
    assert.equal(lines.length, 3, out.slice(-2000));
    const answers = [];
    for (const line of lines) answers.push(JSON.parse(await shell(`${line.trim()} --silent --show-error`)));
    assert.equal(answers[0].id, 'city-000014');
    assert.ok(answers[1].length === 3 && answers[1].every((city) => city.country === 'IS'));
    assert.equal(answers[2].name, 'Parley');
    assert.match(out, /make stop/);
  });

  for (const document of DOCUMENTS) {
    for (const [n, block] of shellBlocks(document).entries())
      it(`what ${document} tells to type works (${n + 1}): ${block.trim().split('\n').at(-1).slice(0, 60)}`, () => shell(block));
  }

  it('make run again is harmless', async () => {
    const out = await shell('make run', RUN_MS);
    assert.match(out, /make stop/);
  });

  it('make stop stops everything, and may be repeated', async () => {
    await shell('make stop');
    await shell('make stop');
    const { code, out } = await run('deploy/dev-cluster', ['status'], { cwd: clone, env });
    assert.equal(code, 3);
    assert.doesNotMatch(out, /running/);
  });
});
