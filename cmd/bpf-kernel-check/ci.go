package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strconv"

	"github.com/elastic/bpf-kernel-check/report"
)

// ciRun is what a CI system says about the run that this job belongs to.
type ciRun struct {
	id      string // "" outside CI
	attempt int    // from 1
	headSHA string // commit that is tested; of a pull request its head. "" when not known
}

// ciSystems are known by the variable that holds the run's id.
var ciSystems = []struct {
	id      string
	attempt string
	first   int      // the number of the first attempt
	sha     []string // the first that is set counts
}{
	{id: "GITHUB_RUN_ID", attempt: "GITHUB_RUN_ATTEMPT", first: 1, sha: []string{"GITHUB_SHA"}},
	// In a merge request's pipeline CI_COMMIT_SHA can be the merge commit. A job
	// that is retried replaces the artifacts of the one before.
	{id: "CI_PIPELINE_ID", sha: []string{"CI_MERGE_REQUEST_SOURCE_BRANCH_SHA", "CI_COMMIT_SHA"}},
	{id: "BUILDKITE_BUILD_ID", attempt: "BUILDKITE_RETRY_COUNT", first: 0, sha: []string{"BUILDKITE_COMMIT"}},
}

// detectCI reads the environment of GitHub, GitLab and Buildkite. What cannot
// be what it should be is left out, with a warning.
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
	// On pull requests GITHUB_SHA is a merge commit that nobody has seen.
	if path := getenv("GITHUB_EVENT_PATH"); path != "" && run.id != "" && run.id == getenv("GITHUB_RUN_ID") {
		sha, err := pullRequestHead(path)
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
	maxEvent   = 32 << 20 // bytes; GitHub sends up to 25 MB
)

var shaRE = regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`)

// pullRequestHead finds the pull request's head in an event file of GitHub's.
// It returns "" when the event is about something else.
func pullRequestHead(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	return readEvent(f)
}

func readEvent(r io.Reader) (string, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxEvent+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxEvent {
		return "", fmt.Errorf("the event has more than %d MiB", maxEvent>>20)
	}
	var event struct {
		PullRequest *struct {
			Head struct {
				SHA string `json:"sha"`
			} `json:"head"`
		} `json:"pull_request"`
	}
	if err := json.Unmarshal(b, &event); err != nil {
		return "", fmt.Errorf("the event is no JSON: %w", err)
	}
	switch {
	case event.PullRequest == nil:
		return "", nil
	case !shaRE.MatchString(event.PullRequest.Head.SHA):
		return "", errors.New("the event's pull_request.head.sha is no commit")
	}
	return event.PullRequest.Head.SHA, nil
}
