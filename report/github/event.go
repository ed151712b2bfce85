package github

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	gh "github.com/google/go-github/v62/github"
)

// origin is the run whose result is published, and what it was started for.
// It is taken from the environment and GitHub's event alone, never from
// results, which a fork can write as it likes.
type origin struct {
	event   string // that started the run, such as pull_request
	run     int64
	attempt int
	sha     string // the commit that statuses go to
	pr      int    // 0: none, or to be found by its head
	find    bool   // whether the pull request must be found by its head
	head    head   // of the run in question, when find is set
	main    bool   // whether the run is of the default branch
}

// head is where a run's commit comes from.
type head struct {
	owner  string
	repo   string // OWNER/NAME
	branch string
}

// payload is what is needed of an event.
type payload struct {
	Repository  *gh.Repository  `json:"repository"`
	PullRequest *gh.PullRequest `json:"pull_request"`
	WorkflowRun *gh.WorkflowRun `json:"workflow_run"`
}

// maxEvent is well above the 25 MB that GitHub delivers.
const maxEvent = 32 << 20

func readEvent(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxEvent+1))
	if err == nil && len(b) > maxEvent {
		err = fmt.Errorf("it is larger than %d bytes", maxEvent)
	}
	return b, err
}

// PullRequestHead returns the head commit of the pull request that an event file
// is about, or "" if it is about something else.
func PullRequestHead(path string) (string, error) {
	b, err := readEvent(path)
	if err != nil {
		return "", err
	}
	return pullRequestHead(b)
}

func pullRequestHead(event []byte) (string, error) {
	var p payload
	if err := json.Unmarshal(event, &p); err != nil {
		return "", fmt.Errorf("the event is no JSON: %w", err)
	}
	switch {
	case p.PullRequest == nil:
		return "", nil
	case !shaRE.MatchString(p.PullRequest.GetHead().GetSHA()):
		return "", errors.New("the event's pull_request.head.sha is no commit")
	}
	return p.PullRequest.GetHead().GetSHA(), nil
}

// readOrigin finds out what is published and for what. An error names the file.
func readOrigin(e Env) (origin, error) {
	o := origin{event: e.Event, run: e.RunID, attempt: max(e.Attempt, 1), sha: e.SHA}
	needed := isPullRequest(e.Event) || e.Event == "workflow_run"
	if e.Payload == "" {
		if needed {
			return o, fmt.Errorf("GITHUB_EVENT_PATH is not set: the pull request of a %s event is not known without it", e.Event)
		}
		return o, o.check()
	}
	b, err := readEvent(e.Payload)
	if err == nil {
		o, err = o.apply(b, e.Ref)
	}
	if err != nil {
		return origin{}, fmt.Errorf("event file %q: %w", e.Payload, err)
	}
	return o, nil
}

// apply completes an origin with what the event says.
func (o origin) apply(event []byte, ref string) (origin, error) {
	var p payload
	if err := json.Unmarshal(event, &p); err != nil {
		return origin{}, err
	}
	main := p.Repository.GetDefaultBranch()
	switch {
	case isPullRequest(o.event):
		if p.PullRequest == nil {
			return origin{}, fmt.Errorf("an event %s without a pull_request", o.event)
		}
		n := p.PullRequest.GetNumber()
		if n < 1 || n > 1<<31-1 {
			return origin{}, fmt.Errorf("pull_request.number is %d: want a number from 1", n)
		}
		o.pr, o.sha = n, p.PullRequest.GetHead().GetSHA()
	case o.event == "workflow_run":
		w := p.WorkflowRun
		if w == nil {
			return origin{}, fmt.Errorf("an event workflow_run without a workflow_run")
		}
		if w.GetID() < 1 || w.GetRunAttempt() < 0 || w.GetRunAttempt() > 1<<31-1 {
			return origin{}, fmt.Errorf("workflow_run has id %d and attempt %d: want numbers from 1", w.GetID(), w.GetRunAttempt())
		}
		o.event, o.run, o.attempt, o.sha = w.GetEvent(), w.GetID(), max(w.GetRunAttempt(), 1), w.GetHeadSHA()
		if h := w.HeadRepository; h != nil {
			o.head = head{owner: h.GetOwner().GetLogin(), repo: h.GetFullName(), branch: w.GetHeadBranch()}
			o.main = main != "" && w.GetHeadBranch() == main && strings.EqualFold(h.GetFullName(), p.Repository.GetFullName())
		}
		o.find = isPullRequest(o.event)
	default:
		// A schedule runs on the default branch alone, and its event does not
		// always name the repository.
		o.main = o.event == "schedule" || main != "" && ref == "refs/heads/"+main
	}
	if isPullRequest(o.event) {
		o.main = false
	}
	if err := o.check(); err != nil {
		return origin{}, err
	}
	return o, nil
}

// DefaultBranch says whether a job runs for the default branch itself: neither
// for a pull request, nor for another workflow's run.
func DefaultBranch(e Env) (bool, error) {
	if e.Event == "workflow_run" || isPullRequest(e.Event) {
		return false, nil
	}
	o, err := readOrigin(e)
	return o.main, err
}

// FromFork says whether a job's event is about another repository's commits:
// those of a pull request, or of the run that it follows. A head whose
// repository is gone was a fork's. Of other events than those of the repository's
// own branches, such as a comment, it is not known whose code a job checks out.
func FromFork(e Env) (bool, error) {
	switch {
	case slices.Contains([]string{"", "push", "schedule", "workflow_dispatch", "merge_group"}, e.Event):
		return false, nil
	case e.Event != "workflow_run" && !isPullRequest(e.Event):
		return false, fmt.Errorf("the event %.50q does not say whose code it is about", e.Event)
	}
	b, err := readEvent(e.Payload)
	if err != nil {
		return false, err
	}
	var p payload
	if err := json.Unmarshal(b, &p); err != nil {
		return false, err
	}
	from := p.WorkflowRun.GetHeadRepository()
	if e.Event != "workflow_run" {
		from = p.PullRequest.GetHead().GetRepo()
	}
	if p.Repository.GetFullName() == "" {
		return false, errors.New("the event names no repository")
	}
	return !strings.EqualFold(from.GetFullName(), p.Repository.GetFullName()), nil
}

func (o origin) check() error {
	if !shaRE.MatchString(o.sha) {
		return fmt.Errorf("the head commit is %q: want a commit's hash", clip(o.sha, 100))
	}
	return nil
}

// isPullRequest says whether an event's payload has a pull_request.
func isPullRequest(event string) bool { return strings.HasPrefix(event, "pull_request") }
