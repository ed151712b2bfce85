package github

import (
	"context"
	"fmt"

	gh "github.com/google/go-github/v62/github"

	"github.com/elastic/bpf-kernel-check/report"
)

// setStatus sets the commit status of this check.
func (p *publisher) setStatus(ctx context.Context, state, description string) error {
	name, link, text := p.cfg.Name, p.runURL(), clip(description, maxStatus)
	return p.api.do(ctx, set, func(ctx context.Context) error {
		_, _, err := p.api.Repositories.CreateStatus(ctx, p.api.owner, p.api.repo, p.origin.sha, &gh.RepoStatus{
			State: &state, Context: &name, TargetURL: &link, Description: &text,
		})
		return err
	})
}

// state is the commit status that says a verdict. What is not proven is an
// error, never a success.
func state(v report.Verdict) string {
	switch v {
	case report.Pass:
		return "success"
	case report.Fail, report.Crash, report.Timeout:
		return "failure"
	default:
		return "error"
	}
}

// runURL is the page of the run whose result this is.
func (p *publisher) runURL() string {
	return fmt.Sprintf("%s/%s/%s/actions/runs/%d/attempts/%d", p.cfg.Env.Server, p.api.owner, p.api.repo, p.origin.run, p.origin.attempt)
}
