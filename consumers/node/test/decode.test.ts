/** What cases.json doesn't contain. */
import assert from 'node:assert/strict';
import { suite, test } from 'node:test';
import { type Decoded, decode, type EventTypes, read } from '../src/index.ts';
import { cases, types } from './cases.ts';

const { source } = cases;
const valid = {
  specversion: '1.0',
  id: 'a:2',
  source,
  type: 'BalanceCredited',
  subject: 'a',
  time: '2026-11-20T21:03:05.123Z',
  datacontenttype: 'application/json',
  dataschema: 'urn:millrace:schema:BalanceCredited:1',
  data: { accountId: 'a', sequence: 2, amount: 2, currency: 'EUR' },
};

function decodeText(text: string | Uint8Array, known: EventTypes = types): Decoded {
  return decode(typeof text === 'string' ? new TextEncoder().encode(text) : text, { source, types: known });
}

function decodeWith(changes: object, known?: EventTypes): Decoded {
  return decodeText(JSON.stringify({ ...valid, ...changes }), known);
}

function reasonOf(decoded: Decoded): string {
  assert.ok(decoded.kind === 'undecodable', decoded.kind);
  return decoded.reason;
}

test('a valid event is decoded', () => assert.equal(decodeWith({}).kind, 'event'));

suite('bytes', () => {
  test('that are not UTF-8 in a member that nothing needs', () => {
    const bytes = Buffer.from(JSON.stringify({ ...valid, comment: '#' }));
    bytes[bytes.indexOf('#')] = 0xff;
    assert.equal(reasonOf(decodeText(bytes)), 'the record is not UTF-8');
  });

  test('with a byte order mark', () => {
    assert.equal(reasonOf(decodeText(`\ufeff${JSON.stringify(valid)}`)), 'the record is not JSON');
  });

  test('nested very deeply', () => {
    const deep = `${'['.repeat(100_000)}${']'.repeat(100_000)}`;
    const text = JSON.stringify({ ...valid, deep: 0 }).replace('"deep":0', `"deep":${deep}`);
    assert.ok(['event', 'undecodable'].includes(decodeText(text).kind));
  });
});

suite('an unpaired surrogate', () => {
  // JSON.stringify writes it as the escape \ud800, which is in ASCII.
  const lone = '\ud800';
  for (const changes of [
    { subject: lone, id: `${lone}:2` },
    { type: lone, dataschema: `urn:millrace:schema:${lone}:1` },
    { datacontenttype: lone },
    { correlationid: lone },
    { causationid: lone },
    { data: { ...valid.data, currency: lone } },
  ]) {
    test(`in ${Object.keys(changes)[0]} is undecodable`, () => {
      assert.match(reasonOf(decodeWith(changes)), / contains an unpaired surrogate$/);
    });
  }

  test('in a list, in any value and in the name of a member is undecodable', () => {
    const known: EventTypes = {
      'BalanceCredited:1': read.object<object>({
        tags: read.optional(read.list(read.string())),
        names: read.optional(read.map(read.any())),
        any: read.optional(read.any()),
      } as object),
    };
    for (const data of [
      { tags: [lone] },
      { names: { [lone]: 1 } },
      { any: lone },
      { any: [{ a: lone }] },
      { any: { [lone]: 1 } },
    ]) {
      const reason = reasonOf(decodeWith({ data: { sequence: 2, ...data } }, known));
      assert.match(reason, / contains an unpaired surrogate/);
    }
    assert.equal(decodeWith({ data: { sequence: 2, any: [{ a: '🚀' }, null, 1] } }, known).kind, 'event');
  });

  test('in a member that the consumer does not read is ignored, and a pair is a character', () => {
    assert.equal(decodeWith({ comment: lone, data: { ...valid.data, later: lone } }).kind, 'event');
    assert.equal(decodeWith({ subject: '🚀', id: '🚀:2' }).kind, 'event');
  });
});

suite('time', () => {
  for (const time of [
    '2026-11-20T21:03:05Z',
    '2026-11-20T21:03:05.123456789+01:30',
    '2024-02-29t23:59:59z',
    '0001-01-01T00:00:00Z',
    '0001-01-01T01:00:00+01:00',
    '9999-12-31T23:59:59.999999Z',
    '2000-02-29T00:00:00Z',
  ]) {
    test(`${time} is one`, () => assert.equal(decodeWith({ time }).kind, 'event'));
  }
  for (const time of [
    '2026-02-29T21:03:05Z',
    '2100-02-29T21:03:05Z',
    '2026-04-31T21:03:05Z',
    '2026-00-01T21:03:05Z',
    '2026-01-00T21:03:05Z',
    '2026-11-20T24:03:05Z',
    '2026-11-20T21:60:05Z',
    '2026-11-20T21:03:61Z',
    '2016-12-31T23:59:60Z',
    '0000-01-01T00:00:00Z',
    '0001-01-01T00:59:59+01:00',
    '9999-12-31T23:00:00-01:00',
    '2026-11-20T21:03:05.Z',
    '2026-11-20T21:03:05+24:00',
    '2026-11-20T21:03:05+00:60',
    '2026-11-20 21:03:05Z',
    '2026-11-20',
    ' 2026-11-20T21:03:05Z',
    '',
  ]) {
    test(`'${time}' is none`, () => assert.equal(reasonOf(decodeWith({ time })), 'time is not a time in RFC 3339'));
  }
});

suite('traceparent', () => {
  const ids = '4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7';
  const cases: [unknown, boolean][] = [
    [`00-${ids}-01`, true],
    [`00-${ids}-ff`, true],
    [`cc-${ids}-01`, true],
    [`cc-${ids}-01-later`, true],
    [`00-${ids}-01-later`, false],
    [`cc-${ids}-01later`, false],
    [`ff-${ids}-01`, false],
    [`00-${ids.toUpperCase()}-01`, false],
    [`00-${'0'.repeat(32)}-00f067aa0ba902b7-01`, false],
    [`00-4bf92f3577b34da6a3ce929d0e0e4736-${'0'.repeat(16)}-01`, false],
    [1, false],
    [null, false],
  ];
  for (const [traceparent, isValid] of cases) {
    test(`${traceparent} is ${isValid ? 'valid' : 'absent'}`, () => {
      const decoded = decodeWith({ traceparent });
      assert.ok(decoded.kind === 'event');
      assert.equal(decoded.event.traceParent, isValid ? traceparent : undefined);
    });
  }
});

test('optional ids that are null are absent, and others that are no strings are undecodable', () => {
  const decoded = decodeWith({ correlationid: null, causationid: null });
  assert.ok(decoded.kind === 'event');
  assert.equal('correlationId' in decoded.event || 'causationId' in decoded.event, false);
  assert.equal(reasonOf(decodeWith({ causationid: 1 })), 'causationid is not a string');
});

test('the names of members of Object are no types and no members', () => {
  for (const type of ['constructor', '__proto__', 'toString']) {
    const decoded = decodeWith({ type, dataschema: `urn:millrace:schema:${type}:1` });
    assert.ok(decoded.kind === 'unknown');
    assert.equal(decoded.event.isKnownType, false);
  }
});

test('a reader that throws makes the record undecodable, without the message of its error', () => {
  const known: EventTypes = {
    'BalanceCredited:1': () => {
      throw new RangeError('secret');
    },
  };
  assert.equal(reasonOf(decodeWith({}, known)), "data can't be read: the reader threw RangeError");
});

test('a reason contains nothing of the record', () => {
  const secret = 'secret-value';
  for (const changes of [
    { specversion: secret },
    { id: secret },
    { source: secret },
    { subject: secret },
    { time: secret },
    { dataschema: secret },
    { data: secret },
    { data: { ...valid.data, sequence: secret } },
    { data: { ...valid.data, amount: secret } },
    { data: { ...valid.data, currency: { [secret]: secret } } },
  ]) {
    assert.doesNotMatch(reasonOf(decodeWith(changes)), /secret/);
  }
  assert.doesNotMatch(reasonOf(decodeText(`{"${secret}`)), /secret/);
});
