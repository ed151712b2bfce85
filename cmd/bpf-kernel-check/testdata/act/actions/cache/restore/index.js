const path = require('path')
const core = require('@actions/core')
const cache = require('@actions/cache')

async function main() {
  // A cache is found by its path, too. GitHub's runners have one temporary
  // directory, act's jobs each have their own.
  const temp = process.env.RUNNER_TEMP
  process.env.GITHUB_WORKSPACE = temp
  process.chdir(temp)
  const dir = path.relative(temp, core.getInput('path'))
  const keys = core.getInput('restore-keys').split('\n').map(s => s.trim()).filter(Boolean)
  const found = await cache.restoreCache([dir], core.getInput('key'), keys)
  core.setOutput('cache-matched-key', found || '')
  core.setOutput('cache-hit', String(found === core.getInput('key')))
  core.info(`cache: ${found || 'none'}`)
}

main().catch(err => core.setFailed(err.message))
