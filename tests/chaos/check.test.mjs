// The checkers find what they are for: each history below is wrong in one way, but for the first. And no fault is said to
// have been met that the machine can't make.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  checkCleaned, checkCounters, checkDeleted, checkEnded, checkFeed, checkIndex, checkLocks, checkProbes, checkReached, checkRegisters, checkSet,
  checkTags, unheard,
} from './check.mjs';
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

describe('the checker of locks', () => {
  const good = () => {
    const grants = [[1, 0, 2], [2, 5, 10], [3, 6, 30]].map(([token, asked, granted]) => ({ token, asked, granted, ttlMs: 10 }));
    const write = (grant, read, revision, more = {}) => ({ doc: 'd', grant: grants[grant], read, status: 200, revision, end: 100, ...more });
    const writes = [
      write(0, 0, '"1-a"'), write(undefined, undefined, '"2-b"'), write(1, 2, '"3-c"'), write(1, 3, '"4-d"'),
      write(0, 1, undefined, { status: 412, end: 11 }), write(2, 4, '"5-e"'), write(1, 4, undefined, { status: 0 }),
    ];
    return { grants, writes, write };
  };
  const finds = (what, spoil, pattern) => it(what, () => {
    const records = good();
    spoil(records);
    assert.match(checkLocks(records).join('\n'), pattern);
  });
  it('is content with what is right', () => assert.deepEqual(checkLocks(good()), []));
  finds('a late holder that is heard', ({ writes, write }) => writes.push(write(0, 5, '"6-f"')), /token 1 wrote "6-f" after token 3/);
  finds('a write within a hold', ({ writes, write }) => writes.push(write(undefined, undefined, '"6-f"'), write(2, 6, '"7-g"')), /"6-f" within the hold of token 3/);
  finds('a read that was not what was replaced', ({ writes, write }) => writes.push(write(2, 5, '"7-g"')), /5 was read under a lock, "7-g"/);
  finds('a write in the place of another', ({ writes, write }) => writes.push(write(2, 4, '"5-f"')), /both "5-e" and "5-f"/);
  finds('a lock that ends too early', ({ writes, write }) => writes.push(write(2, 5, undefined, { status: 412, end: 15 })), /lost after 9/);
  finds('a token that falls', ({ grants }) => grants.push({ token: 0.5, asked: 40, granted: 41 }), /0.5 was given after 3/);
  finds('a token given twice', ({ grants }) => grants.push({ token: 3, asked: 7, granted: 9 }), /3 was given twice/);
  finds('no token', ({ grants }) => grants.push({ asked: 40, granted: 41 }), /undefined was given/);
});

describe('the checker of feeds', () => {
  const writes = [[1, '1-a'], [3, '2-b'], [5, '3-c']].map(([start, revision]) => ({ doc: 'd', start, status: 200, revision }));
  writes.push({ doc: 'd', start: 7, status: 0 }, { doc: 'd', start: 8, status: 409 });
  const check = (revisions, each = true, since = 0) => checkFeed(writes, { name: 'it', heard: new Map([['d', revisions]]), since, each }).join('\n');
  it('is content with what is right', () => {
    for (const revisions of [['1-a', '2-b', '3-c'], ['1-a', '2-b', '3-c', '4-x']]) assert.equal(check(revisions), '');
    assert.equal(check(['2-b', '3-c'], true, 2), '');
    assert.equal(check(['3-c', '3-c'], false), '');
    assert.deepEqual(unheard(writes, { heard: new Map(), since: 5, each: true }), []);
  });
  it('finds what was left out', () => {
    assert.match(check(['1-a', '3-c']), /not told of 2-b/);
    assert.match(check(['1-a', '2-b']), /not told of 3-c/);
    assert.match(check(['1-a', '2-b'], false), /not told of 3-c/);
    assert.equal(unheard(writes, { heard: new Map(), since: 2, each: false }).length, 2);
  });
  it('finds what came twice, or in another order', () => {
    assert.match(check(['1-a', '2-b', '2-b', '3-c']), /2-b of d after 2-b/);
    assert.match(check(['2-b', '1-a', '3-c']), /1-a of d after 2-b/);
    assert.match(check(['3-c', '2-b'], false), /2-b of d after 3-c/);
  });
  it('finds what nobody wrote', () => {
    assert.match(check(['1-a', '2-b', '3-c', '4-x', '5-y']), /4-x,5-y of d; at most 1/);
    assert.match(check(['1-a', '2-x', '2-b', '3-c', '4-y'], false), /at most 1/);
  });
});

describe('the checkers of indexes and of cleanup', () => {
  const map = (object) => new Map(Object.entries(object));
  it('an index that says something else', () => {
    assert.deepEqual(checkIndex(map({ a: 1, b: 2, c: 3 }), map({ a: 1, b: 4, d: 5 }), map({ a: 1, b: 4, d: 5 })), []);
    for (const [found, pattern] of [[{}, /gives undefined of a, which is 1/], [{ a: 2 }, /gives 2 of a, which is 1/], [{ a: 1, z: 3 }, /gives 3 of z, which is undefined/]])
      assert.match(checkIndex(map({ a: 1 }), map(found), map({ a: 1 })).join('\n'), pattern);
  });
  it('conflicts and traces that stay', () => {
    assert.deepEqual(checkCleaned([], []), []);
    assert.match(checkCleaned([{ collection: 'c', id: 'd', state: 'open' }], []).join(), /c\/d stays open/);
    assert.match(checkCleaned([{ collection: 'c', id: 'd', state: 'resolved', cleanup: { state: 'waiting', for: ['n'] } }], []).join(), /resolved .*waiting.*n/);
    assert.match(checkCleaned([], ['d']).join(), /d still shows/);
  });
  it('checkers that had nothing to check', () => {
    assert.deepEqual(checkReached({ a: 1, b: 0 }), ['there was no b']);
  });
});

describe('the nemesis', () => {
  it('leaves out what the machine lacks, so that it is not counted as met', () => {
    const possible = (canJump) => new Nemesis({ storage: [], members: [], canJump }).possible(['pause', 'a clock that jumps']);
    assert.deepEqual(possible(true), ['pause', 'a clock that jumps']);
    assert.deepEqual(possible(false), ['pause']);
  });
});
