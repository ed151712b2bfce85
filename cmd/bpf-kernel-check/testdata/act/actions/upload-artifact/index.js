const fs = require('fs')
const path = require('path')
const core = require('@actions/core')
const { DefaultArtifactClient } = require('@actions/artifact')

function files(root) {
  if (!fs.existsSync(root)) return []
  if (!fs.statSync(root).isDirectory()) return [root]
  return fs.readdirSync(root, { recursive: true, withFileTypes: true })
    .filter(e => e.isFile() && !path.relative(root, path.join(e.parentPath, e.name)).split('/').some(p => p.startsWith('.')))
    .map(e => path.join(e.parentPath, e.name))
}

async function main() {
  const client = new DefaultArtifactClient()
  const name = core.getInput('name', { required: true })
  const root = core.getInput('path', { required: true })
  const found = files(root)
  if (found.length === 0) {
    const message = `No files were found with the provided path: ${root}`
    if (core.getInput('if-no-files-found') === 'error') core.setFailed(message)
    return core.info(message)
  }
  // GitHub answers 409, act's server overwrites.
  const { artifacts } = await client.listArtifacts()
  if (artifacts.some(a => a.name === name)) throw new Error(`409: an artifact with this name already exists: ${name}`)
  const base = fs.statSync(root).isDirectory() ? root : path.dirname(root)
  const days = core.getInput('retention-days')
  const { id, size } = await client.uploadArtifact(name, found, base, days ? { retentionDays: Number(days) } : {})
  core.info(`uploaded ${name}: ${found.length} files, ${size} bytes, id ${id}`)
}

main().catch(err => core.setFailed(err.message))
