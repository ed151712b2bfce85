const path = require('path')
const core = require('@actions/core')
const cache = require('@actions/cache')

async function main() {
  // A cache is found by its path, too. GitHub's runners have one temporary
  // and one tool directory, act's jobs and runners each have their own.
  const full = core.getInput('path')
  const temp = process.env.RUNNER_TEMP
  const base = full.startsWith(temp + path.sep) ? temp : path.dirname(full)
  process.env.GITHUB_WORKSPACE = base
  process.chdir(base)
  const dir = path.relative(base, full)
  const id = await cache.saveCache([dir], core.getInput('key'))
  core.info(`saved cache ${core.getInput('key')} as ${id}`)
}

// A cache that cannot be saved fails no job.
main().catch(err => core.warning(err.message))
