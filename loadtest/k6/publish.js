// Publishing and reading back, from outside, held against the levels of service.
// `cargo xtask load --k6` runs it; by hand: LOGLINE_API=… LOGLINE_TOKEN=… k6 run publish.js

import http from "k6/http";
import { check, fail } from "k6";
import { Trend } from "k6/metrics";

const api = __ENV.LOGLINE_API;
const headers = {
  Authorization: `Bearer ${__ENV.LOGLINE_TOKEN}`,
  "Content-Type": "application/json",
};
const publishing = new Trend("logline_publish", true);
const reading = new Trend("logline_read_back", true);

export const options = {
  vus: Number(__ENV.LOGLINE_LOAD_USERS || 5),
  duration: `${__ENV.LOGLINE_LOAD_SECONDS || 3}s`,
  thresholds: {
    http_req_failed: ["rate==0"],
    checks: ["rate==1"],
    // P95 from received to sealed.
    logline_publish: ["p(95)<1200"],
    // Every user came round at least once.
    iterations: ["count>=1"],
  },
};

export function setup() {
  if (!api || !__ENV.LOGLINE_TOKEN) {
    fail("LOGLINE_API and LOGLINE_TOKEN say where the API is and who asks: see docs/load.md");
  }
}

export default function () {
  const span = { entity_type: "load.k6", who: "k6", did: "measured", this: "door", visibility: "tenant" };
  const published = http.post(`${api}/api/spans`, JSON.stringify(span), { headers, tags: { name: "publish" } });
  publishing.add(published.timings.duration);
  const sealed = check(published, {
    "the span is sealed": (answer) => answer.status === 200 && answer.json("position") > 0,
  });
  if (!sealed) return;

  const id = published.json("id");
  const read = http.get(`${api}/api/spans/${id}`, { headers, tags: { name: "read back" } });
  reading.add(read.timings.duration);
  check(read, {
    "it is read back as it was sealed": (answer) =>
      answer.status === 200 && answer.json("id") === id && answer.json("curr_hash") === published.json("curr_hash"),
  });

  const page = http.get(`${api}/api/timeline?entity_type=load.k6&limit=10`, { headers, tags: { name: "timeline" } });
  check(page, {
    "the timeline has spans": (answer) => answer.status === 200 && answer.json("spans").length > 0,
  });
}
