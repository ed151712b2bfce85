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

func (p *publisher) runURL() string { return p.cfg.Env.runURL(p.origin) }

func (e Env) runURL(o origin) string {
	return fmt.Sprintf("%s/%s/%s/actions/runs/%d/attempts/%d", e.Server, e.Owner, e.Repo, o.run, o.attempt)
}

// RunURL is the page of the run whose result is published: this one, or the
// one that a workflow_run event is about. Empty: it is not known.
func (e Env) RunURL() string {
	o, err := readOrigin(e)
	if err != nil || e.Server == "" || e.Owner == "" || o.run == 0 {
		return ""
	}
	return e.runURL(o)
}
