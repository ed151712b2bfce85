package merge

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// Need is what became of a job that merge waited for.
type Need struct {
	Job    string // its id in the workflow; "" when only the results were given
	Result string // success, failure, cancelled or skipped, and hostile
}

// ParseNeeds reads GitHub's toJSON(needs), an object of jobs with their
// results, or toJSON(needs.*.result), a list of results. No job at all is an
// error: merge would not have waited for anything.
func ParseNeeds(text string) ([]Need, error) {
	const want = "want toJSON(needs) or toJSON(needs.*.result)"
	b := []byte(text)
	if err := report.CheckJSON(b); err != nil {
		return nil, fmt.Errorf("%w: %s", err, want)
	}
	var needs []Need
	var results []string
	var jobs map[string]struct{ Result string }
	switch {
	case json.Unmarshal(b, &results) == nil:
		for _, r := range results {
			needs = append(needs, Need{Result: r})
		}
	case json.Unmarshal(b, &jobs) == nil:
		for job, n := range jobs {
			needs = append(needs, Need{Job: job, Result: n.Result})
		}
		slices.SortFunc(needs, func(a, b Need) int { return strings.Compare(a.Job, b.Job) })
	default:
		return nil, errors.New("it is neither jobs with results nor a list of results: " + want)
	}
	if len(needs) == 0 {
		return nil, errors.New("it names no job: the job that merges must have those that test in its needs")
	}
	return needs, nil
}

// objection says why a job's result does not agree with a merged result, of
// which bad says that a kernel did not pass. A job fails when a kernel did not
// pass; when all passed, something else went wrong in it, of which nothing is
// known. A job that was cancelled, skipped, or ended in a way that is not known
// has tested what it was to test in no case.
func (n Need) objection(bad bool) string {
	job := "a job that merge needs"
	if n.Job != "" {
		job = "job " + report.OneLine(n.Job, 100)
	}
	switch n.Result {
	case "success":
		return ""
	case "failure":
		if bad {
			return ""
		}
		return job + " failed, and no kernel that is known did not pass: look at its log"
	case "cancelled", "skipped":
		return job + " was " + n.Result
	case "":
		return job + " has no result"
	default:
		return job + " ended as " + report.OneLine(n.Result, 50) + ": want success"
	}
}
