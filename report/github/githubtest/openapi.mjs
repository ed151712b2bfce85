// Cuts the operations that report/github calls, and what they refer to, out of
// GitHub's description of its REST API. See README.md.
import { readFileSync, writeFileSync } from "node:fs";
import { gzipSync } from "node:zlib";

const repo = "/repos/{owner}/{repo}";
const used = {
  "/user": ["get"],
  [`${repo}/check-runs`]: ["post"],
  [`${repo}/check-runs/{check_run_id}`]: ["patch"],
  [`${repo}/commits/{ref}/statuses`]: ["get"],
  [`${repo}/issues`]: ["get", "post"],
  [`${repo}/issues/comments/{comment_id}`]: ["patch", "delete"],
  [`${repo}/issues/{issue_number}`]: ["patch"],
  [`${repo}/issues/{issue_number}/comments`]: ["get", "post"],
  [`${repo}/pulls`]: ["get"],
  [`${repo}/pulls/{pull_number}`]: ["get"],
  [`${repo}/statuses/{sha}`]: ["post"],
};

const [from, to] = process.argv.slice(2);
const all = JSON.parse(readFileSync(from, "utf8"));
const out = { openapi: all.openapi, info: all.info, servers: all.servers, paths: {}, components: {} };

// Texts for people take most of the space. Only annotations go, never a
// property of a schema that happens to have such a name.
const prose = new Set(["description", "summary", "externalDocs", "tags", "x-github", "operationId"]);
const names = new Set(["properties", "schemas", "parameters", "responses", "headers", "examples", "patternProperties"]);
function trim(v, inNames) {
  if (Array.isArray(v)) return v.map((x) => trim(x, false));
  if (v === null || typeof v !== "object") return v;
  const kept = {};
  for (const [k, x] of Object.entries(v)) {
    if (!inNames && k === "value") kept[k] = x; // an example is data
    else if (inNames || !prose.has(k) || typeof x !== "string" && k === "description") kept[k] = trim(x, !inNames && names.has(k));
  }
  return kept;
}

const seen = new Set();
function follow(v) {
  if (v === null || typeof v !== "object") return;
  if (typeof v.$ref === "string" && !seen.has(v.$ref)) {
    seen.add(v.$ref);
    const [, , section, name] = v.$ref.split("/");
    const part = trim(all.components[section][name], false);
    (out.components[section] ??= {})[name] = part;
    follow(part);
  }
  for (const x of Object.values(v)) follow(x);
}

for (const [path, methods] of Object.entries(used)) {
  const item = {};
  for (const m of methods) item[m] = trim(all.paths[path][m], false);
  if (all.paths[path].parameters) item.parameters = trim(all.paths[path].parameters, false);
  out.paths[path] = item;
  follow(item);
}
// A response must have a description to be valid.
for (const r of Object.values(out.components.responses ?? {})) r.description ??= "";
for (const item of Object.values(out.paths))
  for (const op of Object.values(item)) for (const r of Object.values(op.responses ?? {})) if (!r.$ref) r.description ??= "";

writeFileSync(to, gzipSync(JSON.stringify(out), { level: 9 }));
