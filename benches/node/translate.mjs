// What the translator does between its service calls, as a Lambda handler in JavaScript: the rows of a batch of the
// events table's stream, and their public events. As in the translator, every event of a movement repeats the
// account's currency; all accounts of the benchmark have one.

import { unmarshall } from "@aws-sdk/util-dynamodb";

const CURRENCY = "EUR";
const TYPES = { CREDIT: "BalanceCredited", WITHDRAW: "BalanceWithdrawn" };

/** The rows of an invocation, from the bytes that Lambda delivers. */
export function decode(bytes) {
  const event = JSON.parse(bytes.toString());
  return event.Records.map((record) => unmarshall(record.dynamodb.NewImage));
}

/** The JSON of the rows' public events. */
export function translate(bytes) {
  return decode(bytes).map((row) => JSON.stringify(publicEvent(row)));
}

function publicEvent(row) {
  const type = TYPES[row.Type];
  if (type === undefined) {
    throw new Error(`${row.Type} is no movement`);
  }
  return {
    specversion: "1.0",
    id: `${row.Id}:${row.Sequence}`,
    source: "urn:millrace:accounts",
    type,
    subject: row.Id,
    time: new Date(row.Timestamp).toISOString(),
    datacontenttype: "application/json",
    dataschema: `urn:millrace:schema:${type}:1`,
    correlationid: row.CorrelationId,
    causationid: row.CausationId,
    data: {
      accountId: row.Id,
      sequence: row.Sequence,
      amount: row.Amount,
      currency: CURRENCY,
    },
  };
}
