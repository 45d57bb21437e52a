// The checkers find what they are for: each history below is wrong in one way, but for the first. And no fault is said to
// have been met that the machine can't make.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { checkCounters, checkDeleted, checkEnded, checkProbes, checkRegisters, checkSet, checkTags } from './check.mjs';
import { Nemesis } from './nemesis.mjs';

const put = (start, end, value, revision, more = {}) =>
  ({ doc: 'd', kind: 'put', start, end, status: revision ? 200 : 0, revision, value, ...more });
const get = (start, end, value, revision) => ({ doc: 'd', kind: 'get', start, end, status: 200, revision, value });
const remove = (start, end, revision) => ({ doc: 'd', kind: 'delete', start, end, status: 200, revision });

describe('the checker of registers', () => {
  const good = () => [
    put(0, 1, 'a', '"1-a"'), get(2, 3, 'a', '"1-a"'), put(2, 8, 'b', '"2-b"', { expected: '"1-a"' }),
    get(4, 6, 'b', '"2-b"'), put(9, Infinity, 'c'), get(12, 13, 'c', '"3-c"'), remove(14, 15, '"4-d"'),
    put(16, 17, 'e', '"5-e"'),
  ];
  const finds = (what, spoil, pattern) => it(what, () => {
    const ops = good();
    spoil(ops);
    assert.match(checkRegisters(ops).join('\n'), pattern);
  });
  it('is content with what is right', () => assert.deepEqual(checkRegisters(good()), []));
  finds('a stale read', (ops) => ops.push(get(18, 19, 'b', '"2-b"')), /gave "2-b" after/);
  finds('a lost write', (ops) => ops.push(put(18, 19, 'f', '"5-f"')), /both "5-e" and "5-f"/);
  finds('a write in the place of another', (ops) => ops.push(put(18, 19, 'f', '"5-e"')), /"5-e" is both e and f/);
  finds('a value from nowhere', (ops) => ops.push(get(18, 19, 'z', '"6-z"')), /nobody wrote/);
  finds('a refused write that shows', (ops) => ops.push(put(18, 19, 'f', undefined, { status: 409 }), get(20, 21, 'f', '"6-f"')),
    /refused with 409/);
  finds('a condition that was not kept', (ops) => ops.push(put(18, 19, 'f', '"6-f"', { expected: '"4-d"' })), /on "4-d" became/);
  finds('a read of the future', (ops) => ops.push(get(18, 19, 'f', '"6-f"'), put(20, 21, 'f', '"6-f"')), /before it was written/);
});

describe('the other checkers', () => {
  it('sets: lost, false and invented ones', () => {
    const tried = new Map([['a', { acked: true, value: 1 }], ['b', { acked: false, value: 2 }], ['c', { acked: true, value: 3 }]]);
    assert.deepEqual(checkSet(tried, new Map([['a', 1], ['c', 3]])), { lost: [], violations: [] });
    assert.deepEqual(checkSet(tried, new Map([['a', 1]])).lost, ['c']);
    assert.equal(checkSet(tried, new Map([['a', 1], ['c', 4]])).violations.length, 1);
    assert.equal(checkSet(tried, new Map([['a', 1], ['c', 3], ['x', 0]])).violations.length, 1);
  });
  it('deletions that come back', () => {
    assert.deepEqual(checkDeleted(new Set(['a', 'b']), new Map([['b', 1]])), ['b']);
  });
  it('counters: too low and too high', () => {
    const counters = new Map([['n', { acked: 5, unknown: 2 }]]);
    for (const [n, wrong] of [[4, 1], [5, 0], [7, 0], [8, 1]])
      assert.equal(checkCounters(counters, new Map([['n', n]])).length, wrong);
  });
  it('tags that are missing', () => {
    const told = (status) => new Map([['d', new Map([['x', { status: 200, at: 0 }], ['y', { status, at: 5 }]])]]);
    const found = new Map([['d', ['x']]]);
    for (const [status, disksLost] of [[200, [{ from: 4, to: 6 }]], [201, [{ from: 4, to: 6 }]], [202, []], [202, [{ from: 1, to: 4 }]], [202, [{ from: 6, to: 8 }]]])
      assert.deepEqual(checkTags(told(status), found, disksLost), [`d lacks y, answered ${status} at 5 ms`]);
    assert.deepEqual(checkTags(told(202), found, [{ from: 4, to: 6 }]), []);
  });
  it('probes that went back', () => {
    const probed = new Map([['p', { acked: 5, unknown: new Set([3, 7]) }]]);
    for (const [n, wrong] of [[5, 0], [7, 0], [3, 0], [4, 1]])
      assert.equal(checkProbes(probed, new Map([['p', n]])).length, wrong);
    assert.equal(checkProbes(probed, new Map()).length, 1);
  });
  it('documents of an ended era that changed', () => {
    const was = (maybe) => new Map([['d', { status: 200, revision: '"4-a"', maybe }]]);
    const is = (status, etag) => new Map([['d', { status, etag }]]);
    assert.deepEqual(checkEnded(was(false), is(200, '"4-a"')), []);
    assert.deepEqual(checkEnded(was(true), is(200, '"5-b"')), []);
    assert.equal(checkEnded(was(false), is(200, '"5-b"')).length, 1);
    assert.equal(checkEnded(was(true), is(200, '"3-b"')).length, 1);
    assert.equal(checkEnded(was(false), is(404)).length, 1);
  });
});

describe('the nemesis', () => {
  it('leaves out what the machine lacks, so that it is not counted as met', () => {
    const possible = (canJump) => new Nemesis({ storage: [], members: [], canJump }).possible(['pause', 'a clock that jumps']);
    assert.deepEqual(possible(true), ['pause', 'a clock that jumps']);
    assert.deepEqual(possible(false), ['pause']);
  });
});
