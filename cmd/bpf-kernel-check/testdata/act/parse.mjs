// Reads the workflows and actions that are its arguments with GitHub's own parser
// and schemas, and prints what GitHub would refuse them for.
import {readFileSync} from "node:fs";
import {register} from "node:module";
import {join} from "node:path";
import {pathToFileURL} from "node:url";

// The package imports its schemas as a bundler would let it.
register("data:text/javascript," + encodeURIComponent(`
import {readFileSync} from "node:fs";
export async function load(url, context, next) {
  if (!url.endsWith(".json")) return next(url, context);
  return {format: "module", shortCircuit: true, source: "export default " + readFileSync(new URL(url), "utf8")};
}`));
const dist = join(process.env.NODE_PATH, "@actions/workflow-parser/dist");
const load = name => import(pathToFileURL(join(dist, name)).href);
const {parseWorkflow, convertWorkflowTemplate, NoOperationTraceWriter} = await load("index.js");
const {parseAction} = await load("actions/action-parser.js");

for (const name of process.argv.slice(2)) {
  const action = name.endsWith("action.yml");
  const file = {name, content: readFileSync(name, "utf8")};
  const {context, value} = (action ? parseAction : parseWorkflow)(file, new NoOperationTraceWriter());
  if (!action && value) await convertWorkflowTemplate(context, value);
  for (const e of context.errors.getErrors()) {
    console.log(`${name}: ${e.message}`);
    process.exitCode = 1;
  }
}
