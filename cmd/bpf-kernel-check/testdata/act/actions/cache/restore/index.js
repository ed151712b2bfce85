const core = require('@actions/core')
const cache = require('@actions/cache')

async function main() {
  const keys = core.getInput('restore-keys').split('\n').map(s => s.trim()).filter(Boolean)
  const found = await cache.restoreCache([core.getInput('path')], core.getInput('key'), keys)
  core.setOutput('cache-matched-key', found || '')
  core.info(`cache: ${found || 'none'}`)
}

main().catch(err => core.setFailed(err.message))
