const path = require('path')
const core = require('@actions/core')
const { DefaultArtifactClient } = require('@actions/artifact')
const { minimatch } = require('minimatch')

async function main() {
  // Artifacts of another run come through GitHub's REST API, which act does not
  // have; its server tells runs apart by the number alone.
  const other = core.getInput('run-id')
  if (other) {
    if (!core.getInput('github-token')) throw new Error('run-id without github-token')
    const claims = { scp: `Actions.Results:${other}:${other}` }
    const part = o => Buffer.from(JSON.stringify(o)).toString('base64url')
    process.env.ACTIONS_RUNTIME_TOKEN = `${part({ alg: 'none' })}.${part(claims)}.x`
  }
  const client = new DefaultArtifactClient()
  const name = core.getInput('name')
  const pattern = core.getInput('pattern')
  const dir = path.resolve(core.getInput('path') || '.')
  let { artifacts } = await client.listArtifacts({ latest: true })
  artifacts = artifacts.filter(a => name ? a.name === name : minimatch(a.name, pattern || '*'))
  if (name && artifacts.length === 0) throw new Error(`Unable to find an artifact with the name: ${name}`)
  for (const a of artifacts) {
    // As from v5 on: a single one gets no directory of its own.
    const to = name || artifacts.length === 1 ? dir : path.join(dir, a.name)
    await client.downloadArtifact(a.id, { path: to })
    core.info(`downloaded ${a.name} to ${to}`)
  }
  core.info(`${artifacts.length} artifacts`)
}

main().catch(err => core.setFailed(err.message))
