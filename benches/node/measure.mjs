// Answers the benchmark's requests, a line for a line: `events` with the public events of the batch in the file that
// the command line names, and `decode` and `translate` with the nanoseconds of CPU time that this takes for the batch
// once, on all threads of the process.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { decode, translate } from "./translate.mjs";

const batch = readFileSync(process.argv[2]);

function nanoseconds(work) {
  const begin = process.cpuUsage();
  work(batch);
  const { user, system } = process.cpuUsage(begin);
  return (user + system) * 1000;
}

const answers = {
  events: () => translate(batch),
  decode: () => nanoseconds(decode),
  translate: () => nanoseconds(translate),
};

for await (const request of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(answers[request]())}\n`);
}
