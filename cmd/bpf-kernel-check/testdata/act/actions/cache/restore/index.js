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
  const keys = core.getInput('restore-keys').split('\n').map(s => s.trim()).filter(Boolean)
  const found = await cache.restoreCache([dir], core.getInput('key'), keys)
  core.setOutput('cache-matched-key', found || '')
  core.setOutput('cache-hit', String(found === core.getInput('key')))
  core.info(`cache: ${found || 'none'}`)
}

main().catch(err => core.setFailed(err.message))
