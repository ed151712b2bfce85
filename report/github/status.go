package github

import (
	"context"
	"fmt"
	"strings"

	gh "github.com/google/go-github/v62/github"

	"github.com/elastic/bpf-kernel-check/report"
)

// setStatus sets the commit status of this check, unless a newer run has.
// GitHub shows the last that was set: an older run that ends later, of the same
// commit, must not turn green what the newer one has found.
func (p *publisher) setStatus(ctx context.Context, state, description string) (done string, err error) {
	name, link, text := p.cfg.Name, p.runURL(), clip(description, maxStatus)
	if last := p.lastStatus(ctx); last.newer(p.marker("")) {
		return fmt.Sprintf("the status of %.12s is of the newer run %d and stays", p.origin.sha, last.Run), nil
	}
	_, _, err = p.api.Repositories.CreateStatus(ctx, p.api.owner, p.api.repo, p.origin.sha, &gh.RepoStatus{
		State: &state, Context: &name, TargetURL: &link, Description: &text,
	})
	return fmt.Sprintf("status of %.12s: %s", p.origin.sha, state), err
}

// lastStatus is the run and the attempt of the last status of this check.
// When GitHub does not tell, it is zero: the status must not stay pending.
func (p *publisher) lastStatus(ctx context.Context) (m marker) {
	list, _, err := p.api.Repositories.ListStatuses(ctx, p.api.owner, p.api.repo, p.origin.sha, &gh.ListOptions{PerPage: 100})
	if err != nil {
		return marker{}
	}
	for _, s := range list { // newest first
		run, ok := strings.CutPrefix(s.GetTargetURL(), p.cfg.Env.runsURL())
		if s.GetContext() != p.cfg.Name || !ok {
			continue
		}
		if n, err := fmt.Sscanf(run, "%d/attempts/%d", &m.Run, &m.Attempt); n == 2 && err == nil {
			return m
		}
	}
	return marker{}
}

// state is the commit status that says a verdict. What is not proven is an
// error, and a success only as advice, for which GitHub has no status.
func (p *publisher) state() string {
	switch v := p.content.Verdict; {
	case p.green() || p.content.Advisory:
		return "success"
	case v == report.Pass || v == report.Fail || v == report.Crash || v == report.Timeout:
		return "failure"
	default:
		return "error"
	}
}

// green says whether all kernels pass, those among them that are not new.
func (p *publisher) green() bool { return p.content.Verdict == report.Pass && !p.content.EarlierBad }

func (p *publisher) runURL() string { return p.cfg.Env.runURL(p.origin) }

func (e Env) runURL(o origin) string {
	return fmt.Sprintf("%s%d/attempts/%d", e.runsURL(), o.run, o.attempt)
}

func (e Env) runsURL() string {
	return fmt.Sprintf("%s/%s/%s/actions/runs/", e.Server, e.Owner, e.Repo)
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

// CommitURL is the page of a commit; empty when the repository is not known, or
// sha is none.
func (e Env) CommitURL(sha string) string {
	if e.Server == "" || e.Owner == "" || !shaRE.MatchString(sha) {
		return ""
	}
	return e.Server + "/" + e.Owner + "/" + e.Repo + "/commit/" + sha
}
