const core = require('@actions/core')
const exec = require('@actions/exec')

const AsyncFunction = Object.getPrototypeOf(async () => {}).constructor

async function main() {
  core.getInput('github-token', { required: true })
  await new AsyncFunction('core', 'exec', core.getInput('script', { required: true }))(core, exec)
}

main().catch(err => core.setFailed(`Unhandled error: ${err}`))
