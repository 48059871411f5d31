// The stream of the timeline, from outside: every span comes once and in order, and a reader goes on where it was.
// `cargo xtask load --k6` runs it.
//
// k6 hands over a response when it has ended. A stream ends when the reader's token does, so that the readers here have
// tokens that end soon: the first LOGLINE_TOKEN_FIRST, then LOGLINE_TOKEN_SECOND.

import http from "k6/http";
import { check, fail } from "k6";
import exec from "k6/execution";

const api = __ENV.LOGLINE_API;
const spans = 20;

export const options = {
  scenarios: {
    publisher: { executor: "per-vu-iterations", vus: 1, iterations: 1, exec: "publish", maxDuration: "60s" },
    readers: {
      executor: "per-vu-iterations",
      vus: Number(__ENV.LOGLINE_LOAD_USERS || 5),
      iterations: 1,
      exec: "read",
      maxDuration: "60s",
    },
  },
  thresholds: {
    http_req_failed: ["rate==0"],
    checks: ["rate==1"],
    "checks{part:second}": ["rate==1"],
    iterations: [`count>=${1 + Number(__ENV.LOGLINE_LOAD_USERS || 5)}`],
  },
};

export function setup() {
  for (const name of ["LOGLINE_API", "LOGLINE_TOKEN", "LOGLINE_TOKEN_FIRST", "LOGLINE_TOKEN_SECOND"]) {
    if (!__ENV[name]) fail(`${name} is not set: see docs/load.md`);
  }
  const answer = http.get(`${api}/api/timeline?limit=1`, { headers: bearer(__ENV.LOGLINE_TOKEN) });
  if (answer.status !== 200) fail(`the API answers ${answer.status}`);
  return { type: `load.k6.r${Date.now()}` };
}

export function publish(run) {
  const headers = { ...bearer(__ENV.LOGLINE_TOKEN), "Content-Type": "application/json" };
  for (let number = 0; number < spans; number += 1) {
    const span = { entity_type: run.type, who: "k6", did: "measured", this: String(number), visibility: "tenant" };
    const published = http.post(`${api}/api/spans`, JSON.stringify(span), { headers });
    check(published, { "the span is sealed": (answer) => answer.status === 200 });
  }
}

export function read(run) {
  const first = stream(run, __ENV.LOGLINE_TOKEN_FIRST, "0");
  const numbers = first.map((frame) => frame.number);
  check(numbers, { "every span came once and in order": isWhole }, { part: "first" });

  // Another place for each reader.
  const half = exec.vu.idInTest % spans;
  const second = stream(run, __ENV.LOGLINE_TOKEN_SECOND, first[half].id);
  const rest = second.map((frame) => frame.number);
  const both = numbers.slice(0, half + 1).concat(rest);
  check(both, { "the reader went on where it was": isWhole }, { part: "second" });
}

function isWhole(numbers) {
  return numbers.length === spans && numbers.every((number, index) => number === index);
}

// The spans that a stream brings until the token ends.
function stream(run, token, after) {
  const answer = http.get(`${api}/api/timeline/stream?entity_type=${run.type}`, {
    headers: { ...bearer(token), "Last-Event-ID": after },
    timeout: "30s",
  });
  check(answer, { "the stream ended with the token": (it) => it.status === 200 && it.body.includes('"expired"') });
  return answer.body
    .split("\n\n")
    .filter((frame) => frame.includes("event: span"))
    .map((frame) => ({
      id: /^id: (.*)$/m.exec(frame)[1],
      number: Number(JSON.parse(/^data: (.*)$/m.exec(frame)[1]).this),
    }));
}

function bearer(token) {
  return { Authorization: `Bearer ${token}` };
}
