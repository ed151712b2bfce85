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
  const id = await cache.saveCache([dir], core.getInput('key'))
  core.info(`saved cache ${core.getInput('key')} as ${id}`)
}

// A cache that cannot be saved fails no job.
main().catch(err => core.warning(err.message))
