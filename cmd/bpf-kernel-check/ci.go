package main

import (
	"fmt"
	"regexp"
	"strconv"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github"
)

// ciRun is the CI run that this job belongs to.
type ciRun struct {
	id      string // "" outside CI
	attempt int    // from 1
	headSHA string // commit that is tested, a pull request's head; "" if unknown
}

// ciSystems are recognized by the variable with the run's id.
var ciSystems = []struct {
	id      string
	attempt string
	first   int      // the number of the first attempt
	sha     []string // the first one set counts
}{
	{id: "GITHUB_RUN_ID", attempt: "GITHUB_RUN_ATTEMPT", first: 1, sha: []string{"GITHUB_SHA"}},
	// In a merge request's pipeline CI_COMMIT_SHA can be the merge commit. A
	// retried job replaces the artifacts of the one before.
	{id: "CI_PIPELINE_ID", sha: []string{"CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "CI_COMMIT_SHA"}},
	{id: "BUILDKITE_BUILD_ID", attempt: "BUILDKITE_RETRY_COUNT", first: 0, sha: []string{"BUILDKITE_COMMIT"}},
}

// detectCI reads the environment of GitHub, GitLab and Buildkite. It leaves out
// invalid values, with a warning.
func detectCI(getenv func(string) string, warn func(string)) ciRun {
	run := ciRun{attempt: 1}
	for _, ci := range ciSystems {
		id := getenv(ci.id)
		if id == "" {
			continue
		}
		if report.OneLine(id, maxRunID) != id {
			warn(fmt.Sprintf("%s=%.50q is no run's id: it is not recorded", ci.id, id))
			continue
		}
		run.id = id
		if s := getenv(ci.attempt); ci.attempt != "" && s != "" {
			n, err := strconv.Atoi(s)
			if err != nil || n < ci.first || n > maxAttempt {
				warn(fmt.Sprintf("%s=%.50q is no attempt's number: want %d to %d; this counts as the first attempt", ci.attempt, s, ci.first, maxAttempt))
			} else {
				run.attempt = n + 1 - ci.first
			}
		}
		for _, name := range ci.sha {
			// Buildkite's can be HEAD.
			if sha := getenv(name); shaRE.MatchString(sha) {
				run.headSHA = sha
				break
			}
		}
		break
	}
	// On pull requests GITHUB_SHA is a temporary merge commit.
	if path := getenv("GITHUB_EVENT_PATH"); path != "" && run.id != "" && run.id == getenv("GITHUB_RUN_ID") {
		sha, err := github.PullRequestHead(path)
		switch {
		case err != nil:
			warn(fmt.Sprintf("GITHUB_EVENT_PATH: %v: GITHUB_SHA is recorded as the commit", err))
		case sha != "":
			run.headSHA = sha
		}
	}
	return run
}

const (
	maxRunID   = 200
	maxAttempt = 1_000_000
)

var shaRE = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)
