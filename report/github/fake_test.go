package github

import (
	"testing"

	"github.com/elastic/bpf-kernel-check/report/github/githubtest"
)

type (
	fake       = githubtest.GitHub
	pullRow    = githubtest.Pull
	commentRow = githubtest.Comment
	issueRow   = githubtest.Issue
)

const headSHA = githubtest.HeadSHA

func newFake(t *testing.T) *fake {
	t.Helper()
	return githubtest.New(t)
}
