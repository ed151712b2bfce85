package main

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
	"github.com/elastic/bpf-kernel-check/report/github"
	"github.com/elastic/bpf-kernel-check/report/markdown"
	"github.com/elastic/bpf-kernel-check/report/page"
)

func (c *command) publishCommand() *cobra.Command {
	var cfg github.Config
	var pending bool
	var pageURL string
	cmd := &cobra.Command{
		Use:   "publish [DIR]",
		Short: "Show a merged result on GitHub",
		Long: `Shows what merge wrote to DIR (the working directory by default) on GitHub: always
as the job summary, error annotations and outputs, and where the flags say. The
token comes from GITHUB_TOKEN.

An error of GitHub is a warning. The exit code is that of the result, which is 0
for one of run or merge --advisory.`,
		Example: `  bpf-kernel-check publish --pending
  bpf-kernel-check publish out --comment --status
  bpf-kernel-check publish out --issue --name nightly`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := github.CheckName(cfg.Name); err != nil {
				return usagef("--name: %w", err)
			}
			if pageURL != "" && report.WebAddress(pageURL) == "" {
				return usagef("--page-url is %.200q: want the address of report.html, such as https://example.org/report.html", pageURL)
			}
			if pending && (len(args) > 0 || cfg.Comment || cfg.Status || cfg.CheckRun || cfg.Issue) {
				return usagef("--pending sets the commit status at the start of a run and nothing else: give it alone, or with --name")
			}
			cfg.Env, cfg.EnvError = github.ReadEnv(c.getenv)
			cfg.Log, cfg.Transport = c.log, http.DefaultTransport
			if pending {
				return c.say(cfg.Env, github.Pending(cmd.Context(), cfg))
			}
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			content, outcome, readErr := c.readContent(dir, pageURL)
			if err := c.say(cfg.Env, github.Publish(cmd.Context(), cfg, content)); err != nil {
				return err
			}
			if readErr != nil {
				return readErr
			}
			return c.exitWith(outcome, content.Advisory)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Name, "name", github.DefaultName, "`NAME` of this check, to separate several checks of one repository")
	f.BoolVar(&cfg.Comment, "comment", false, "keep one comment on the pull request up to date")
	f.BoolVar(&cfg.Status, "status", false, "set the commit status of the head commit")
	f.BoolVar(&cfg.CheckRun, "check-run", false, "make a check run with annotations")
	f.BoolVar(&cfg.Issue, "issue", false, "on the default branch: open an issue if not all is green, close it when it is")
	f.StringVar(&pageURL, "page-url", "", "`URL` of report.html, for the comment (default: the run's artifacts)")
	f.BoolVar(&pending, "pending", false, "set the commit status to pending, for the start of a run")
	return cmd
}

// say prints what was published and what was not.
func (c *command) say(env github.Env, out github.Outcome) error {
	for _, line := range out.Done {
		fmt.Fprintln(c.stdout, line)
	}
	for _, line := range out.Warnings {
		if !env.Actions {
			fmt.Fprintln(c.stderr, "bpf-kernel-check: warning: "+line)
			continue
		}
		if err := c.log.Warn("bpf-kernel-check", line); err != nil {
			return err
		}
	}
	return nil
}

// readContent reads what merge wrote. If it cannot, the content says so: a status
// must not stay pending, nor an older comment green.
func (c *command) readContent(dir, pageURL string) (github.Content, report.Outcome, error) {
	path := filepath.Join(dir, report.ReportName)
	outputs := func(o report.Outcome) []github.Output {
		return append(outcomeOutputs(o),
			github.Output{Name: "report", Value: path},
			github.Output{Name: "junit", Value: filepath.Join(dir, junitName)})
	}
	m, err := readFile(path, report.ReadReport)
	if err != nil {
		err = fmt.Errorf("read the report %q: %w (merge writes it)", path, err)
		text, annotations := "no result: merge left no report that can be read", []analysis.Annotation{{Title: "bpf-kernel-check: no result", Message: err.Error()}}
		if c.noResult != "" {
			// The action shows it in an annotation.
			text, annotations = "no result: "+report.OneLine(c.noResult, 500), nil
		}
		// The text may quote an input: a code span keeps it from being markup.
		shown := "no result: `" + strings.ReplaceAll(strings.TrimPrefix(text, "no result: "), "`", "'") + "`"
		none := report.RunOutcome(0, nil, true)
		return github.Content{
			Verdict: none.Verdict, Body: shown, Summary: shown, Status: text,
			Annotations: annotations,
			Outputs:     outputs(none),
		}, none, err
	}
	o := m.Outcome()
	content := github.Content{
		Verdict:     o.Verdict,
		Advisory:    m.Advisory,
		EarlierBad:  analysis.EarlierFailed(m) > 0,
		Status:      analysis.Headline(m),
		Annotations: analysis.Annotations(m),
		Outputs:     outputs(o),
	}
	links := c.links()
	links.PageURL = pageURL
	if pageURL == "" && links.RunURL != "" && exists(filepath.Join(dir, page.Name)) {
		links.PageURL = links.RunURL + "#artifacts"
	}
	var body, summary strings.Builder
	err = errors.Join(markdown.Write(&body, m, links), markdown.WriteJobSummary(&summary, m, links))
	content.Body, content.Summary = body.String(), summary.String()
	return content, o, err
}

// outcomeOutputs returns the action's outputs for a result.
func outcomeOutputs(o report.Outcome) []github.Output {
	return []github.Output{
		{Name: "verdict", Value: o.Verdict.String()},
		{Name: "passed", Value: strconv.Itoa(o.Passed)},
		{Name: "failed", Value: strconv.Itoa(o.Failed)},
		{Name: "not-tested", Value: strconv.Itoa(o.NotTested)},
	}
}
