const core = require('@actions/core')
const cache = require('@actions/cache')

async function main() {
  const id = await cache.saveCache([core.getInput('path')], core.getInput('key'))
  core.info(`saved cache ${core.getInput('key')} as ${id}`)
}

main().catch(err => core.setFailed(err.message))
