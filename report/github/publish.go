// Package github says a result where people look for it: in the job's summary,
// annotations and outputs, as a commit status, a comment on the pull request, a
// check run and, for nightly runs, an issue.
//
// What GitHub does not take is a warning and no more: the verdict is never
// changed by it.
package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

// DefaultName is the name of a check that was given none.
const DefaultName = "bpf-kernel-check"

// Config says what to publish, and where.
type Config struct {
	Env      Env
	EnvError error  // of ReadEnv: then the API is not called
	Name     string // tells several checks of one repository apart; see CheckName
	Comment  bool   // on the pull request
	Status   bool   // of the head commit
	CheckRun bool
	Issue    bool // for runs of the default branch

	Log       *Log              // the job's
	Transport http.RoundTripper // to the API
}

// Content is what is said. All texts must be safe to show: nothing in here
// escapes what a guest said.
type Content struct {
	Verdict     report.Verdict        // pass, fail; anything else: not everything was tested
	Body        string                // Markdown, for the comment, the check run and the issue
	Summary     string                // Markdown, for the job summary
	Status      string                // one line, for the status
	Annotations []analysis.Annotation // as many as GitHub shows of a step
	Outputs     []Output
	EarlierBad  bool // kernels that are not new, and were not booted, are not known to pass: status, check run and issue are not green
	Advisory    bool // the status and the check run are green whatever the verdict; Status has to say so
}

// Outcome is what came of it, one line for people each.
type Outcome struct {
	Done     []string
	Warnings []string // what GitHub did not take, and what to do about it
}

type publisher struct {
	cfg     Config
	content Content
	origin  origin
	api     *api
	out     Outcome
}

func (p *publisher) warn(text string) { p.out.Warnings = append(p.out.Warnings, text) }

func (p *publisher) done(text string) {
	if text != "" {
		p.out.Done = append(p.out.Done, text)
	}
}

// Publish says a result. First comes what needs no network.
func Publish(ctx context.Context, cfg Config, content Content) Outcome {
	p := &publisher{cfg: cfg, content: content}
	p.local()
	if !cfg.Comment && !cfg.Status && !cfg.CheckRun && !cfg.Issue {
		return p.out
	}
	ctx, cancel := context.WithTimeout(ctx, totalTime)
	defer cancel()
	if !p.connect() {
		return p.out
	}
	if cfg.Status {
		p.attempt("commit status not set", "statuses: write", func() (string, error) {
			return p.setStatus(ctx, p.state(), content.Status)
		})
	}
	if cfg.Comment {
		p.attempt("pull request not commented on", "pull-requests: write", func() (string, error) {
			pr, why, err := p.pull(ctx)
			if err != nil || why != "" {
				return why, err
			}
			return p.comment(ctx, pr)
		})
	}
	if cfg.Issue {
		p.attempt("tracking issue not kept", "issues: write", func() (string, error) {
			if !p.origin.main {
				return "no tracking issue: this is not a run of the default branch", nil
			}
			return p.track(ctx)
		})
	}
	if cfg.CheckRun {
		p.attempt("check run not made", "checks: write", func() (string, error) {
			return fmt.Sprintf("check run for %.12s", p.origin.sha), p.checkRun(ctx)
		})
	}
	return p.out
}

// Pending sets the commit status to pending, for the start of a run.
func Pending(ctx context.Context, cfg Config) Outcome {
	p := &publisher{cfg: cfg}
	ctx, cancel := context.WithTimeout(ctx, totalTime)
	defer cancel()
	if p.connect() {
		p.attempt("commit status not set", "statuses: write", func() (string, error) {
			return p.setStatus(ctx, "pending", "kernels are being tested")
		})
	}
	return p.out
}

// connect makes ready for calls of the API.
func (p *publisher) connect() bool {
	err := p.cfg.EnvError
	if err == nil {
		err = p.cfg.Env.online()
	}
	if err == nil {
		p.origin, err = readOrigin(p.cfg.Env)
	}
	if err == nil {
		p.api, err = newAPI(p.cfg.Env, p.cfg.Transport)
	}
	if err != nil {
		p.warn("nothing was sent to GitHub: " + clip(err.Error(), 500))
		return false
	}
	if p.cfg.Log != nil {
		p.api.log = p.cfg.Log
	}
	return true
}

// attempt does one thing, and what comes of it becomes a line.
func (p *publisher) attempt(not, permission string, f func() (string, error)) {
	text, err := f()
	if err != nil {
		p.warn(not + ": " + explain(err, permission))
		return
	}
	p.done(text)
}

// local writes the outputs, the summary and the annotations.
func (p *publisher) local() {
	e := p.cfg.Env
	if e.Output != "" {
		if err := WriteOutputs(e.Output, p.content.Outputs); err != nil {
			p.warn("outputs not written: " + clip(err.Error(), 300))
		}
	}
	err := errors.New("GITHUB_STEP_SUMMARY is not set")
	if e.Summary != "" {
		if err = writeSummary(e.Summary, p.content.Summary); err != nil {
			p.warn("job summary not written: " + clip(err.Error(), 300))
		}
	}
	if err != nil {
		// The log is the last place where the result can be read.
		if _, err := fmt.Fprintln(p.cfg.Log, p.content.Summary); err != nil {
			p.warn("result not printed: " + clip(err.Error(), 300))
		}
	}
	if !e.Actions {
		return
	}
	for _, a := range p.content.Annotations {
		if err := p.cfg.Log.Error(a.Title, a.Message); err != nil {
			p.warn("errors not annotated: " + clip(err.Error(), 300))
			return
		}
	}
}

// marker is the hidden first line of what this run writes.
func (p *publisher) marker(kind string) marker {
	return marker{Kind: kind, Name: p.cfg.Name, Run: p.origin.run, Attempt: p.origin.attempt, Head: p.origin.sha}
}

// body is Markdown with its marker before it.
func (p *publisher) body(m marker, markdown string) string {
	head := m.String() + "\n"
	return head + within(markdown, maxComment-report.UTF16Len(head), fmt.Sprintf("The result is too long: [the run](%s) has it.", p.runURL()))
}
