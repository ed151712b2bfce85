package github

import (
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
)

// tracking is a tracking issue's marker line.
func tracking(run int64, attempt int) string {
	return marker{kindIssue, DefaultName, run, attempt, headSHA}.String() + "\n"
}

func TestIssue(t *testing.T) {
	const title = "bpf-kernel-check: not every kernel passes"
	labels := []string{Label}
	row := func(number int, run int64, state, reason string) issueRow {
		return issueRow{Number: number, Author: bot, Title: title, Body: tracking(run, 1) + "red\n", Labels: labels, State: state, Reason: reason}
	}
	redNow := tracking(500, 2) + red().Body
	greenNow := tracking(500, 2) + "red\n" // the last result that was not green stays
	note := func(what string) []string {
		return []string{marker{kindNote, DefaultName, 500, 2, headSHA}.String() + "\n" + what +
			" ([run 500, attempt 2](https://github.com/octo/probe/actions/runs/500/attempts/2), commit " + headSHA + ")"}
	}
	stillRed, greenAgain := note("Still not green: `117 of 120 kernels pass, 3 fail`"), note("Green again: `120 of 120 kernels pass`")
	mallory := row(3, 400, "open", "")
	mallory.Author = "mallory"
	other := row(3, 400, "open", "")
	other.Body = marker{kindIssue, "arm64", 400, 1, headSHA}.String() + "\n"
	comment := row(3, 400, "open", "")
	comment.Body = mark(400, 1)

	untested := red()
	untested.Verdict = report.Missing
	leftRed := green()
	leftRed.EarlierBad = true

	for name, tt := range map[string]struct {
		have    []issueRow
		content Content
		want    []issueRow
		notes   []string
		done    []string
	}{
		"green, and none": {content: green()},
		"red": {
			content: red(),
			want:    []issueRow{{Number: 1001, Author: bot, Title: title, Body: redNow, Labels: labels, State: "open", Reason: ""}}, done: []string{"opened issue #1001"},
		},
		"red again": {
			have: []issueRow{row(3, 499, "open", "")}, content: red(),
			want:  []issueRow{{Number: 3, Author: bot, Title: title, Body: redNow, Labels: labels, State: "open", Reason: ""}},
			notes: stillRed, done: []string{"commented on issue #3"},
		},
		"not everything tested": {
			content: untested,
			want:    []issueRow{{Number: 1001, Author: bot, Title: title, Body: redNow, Labels: labels, State: "open", Reason: ""}}, done: []string{"opened issue #1001"},
		},
		"not everything tested is not green": {
			have: []issueRow{row(3, 499, "open", "")}, content: untested,
			want:  []issueRow{{Number: 3, Author: bot, Title: title, Body: redNow, Labels: labels, State: "open", Reason: ""}},
			notes: stillRed, done: []string{"commented on issue #3"},
		},
		"the same attempt again": {
			have: []issueRow{{Number: 3, Author: bot, Title: title, Body: redNow, Labels: labels, State: "open", Reason: ""}}, content: red(),
			want: []issueRow{{Number: 3, Author: bot, Title: title, Body: redNow, Labels: labels, State: "open", Reason: ""}},
			done: []string{"commented on issue #3"},
		},
		"green again": {
			have: []issueRow{row(3, 499, "open", "")}, content: green(),
			want:  []issueRow{{Number: 3, Author: bot, Title: title, Body: greenNow, Labels: labels, State: "closed", Reason: "completed"}},
			notes: greenAgain, done: []string{"closed issue #3"},
		},
		"green, and kernels that were left out are not": {
			have: []issueRow{row(3, 499, "open", "")}, content: leftRed,
			want: []issueRow{row(3, 499, "open", "")},
			done: []string{"issue #3 stays open: kernels that are not new are not known to pass"},
		},
		"red after it was closed": {
			have: []issueRow{row(3, 499, "closed", "completed")}, content: red(),
			want: []issueRow{row(3, 499, "closed", "completed"), {Number: 1001, Author: bot, Title: title, Body: redNow, Labels: labels, State: "open", Reason: ""}},
			done: []string{"opened issue #1001"},
		},
		"a newer run has closed it": {
			have: []issueRow{row(3, 501, "closed", "completed")}, content: red(),
			want: []issueRow{row(3, 501, "closed", "completed")},
			done: []string{"issue #3 is of the newer run 501 and stays"},
		},
		"a newer run has opened it": {
			have: []issueRow{row(3, 501, "open", "")}, content: green(),
			want: []issueRow{row(3, 501, "open", "")},
			done: []string{"issue #3 is of the newer run 501 and stays"},
		},
		"somebody else's": {have: []issueRow{mallory}, content: green(), want: []issueRow{mallory}},
		"another check's": {have: []issueRow{other}, content: green(), want: []issueRow{other}},
		"not an issue's":  {have: []issueRow{comment}, content: green(), want: []issueRow{comment}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.Issues = tt.have
				cfg := nightJob(t)
				cfg.Issue = true
				want(t, "outcome", publish(t, f, cfg, tt.content), Outcome{Done: tt.done})
				want(t, "issues", f.Issues, tt.want)
				want(t, "comments", bodies(f), tt.notes)
			})
		})
	}
}

func TestIssueWithoutLabel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.NoLabels = true
		cfg := nightJob(t)
		cfg.Issue = true
		want(t, "outcome", publish(t, f, cfg, red()), Outcome{
			Done:     []string{"opened issue #1001"},
			Warnings: []string{"issue #1001 was opened without the label bpf-kernel-check and will not be found again: the token's owner needs the triage role"},
		})
	})
}

// Two runs open an issue at the same time: the first stays open and has both
// results.
func TestIssueRace(t *testing.T) {
	for name, tt := range map[string]struct {
		run  int64 // that opened the other
		open string
		done string
		last string
	}{
		"an older run": {499, "open", "commented on issue #3", tracking(500, 2)},
		"a newer run":  {501, "open", "issue #3 is of the newer run 501 and stays", tracking(501, 1)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				var once sync.Once
				f.After = func(method, path string) {
					if method == http.MethodPost {
						once.Do(func() {
							f.Issues = append(f.Issues, issueRow{Number: 3, Author: bot, Title: "x", Body: tracking(tt.run, 1), Labels: []string{Label}, State: "open"})
						})
					}
				}
				cfg := nightJob(t)
				cfg.Issue = true
				want(t, "outcome", publish(t, f, cfg, red()), Outcome{Done: []string{tt.done}})
				var states []string
				for _, i := range f.Issues {
					states = append(states, i.State+i.Reason)
				}
				want(t, "states", states, []string{"closednot_planned", "open"})
				if !strings.HasPrefix(f.Issues[1].Body, tt.last) {
					t.Errorf("the first issue is %q", f.Issues[1].Body)
				}
			})
		})
	}
}

// A comment that fails leaves neither the issue open nor the failure unsaid.
func TestIssueIsClosedWithoutComment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		f.Issues = []issueRow{{Number: 3, Author: bot, Title: "x", Body: tracking(499, 1), Labels: []string{Label}, State: "open"}}
		f.Script = func(method, path string) (int, http.Header, string) {
			if strings.HasSuffix(path, "/comments") {
				return 403, nil, `{"message":"locked"}`
			}
			return 0, nil, ""
		}
		cfg := nightJob(t)
		cfg.Issue = true
		out := publish(t, f, cfg, green())
		if len(out.Warnings) != 1 || !strings.HasPrefix(out.Warnings[0], "tracking issue not kept: 403 locked") {
			t.Errorf("outcome: %+v", out)
		}
		if f.Issues[0].State != "closed" {
			t.Errorf("issue: %+v", f.Issues[0])
		}
	})
}

func TestIssueOnlyForTheDefaultBranch(t *testing.T) {
	const none = "no tracking issue: this is not a run of the default branch"
	for name, tt := range map[string]struct {
		event, payload, ref string
		issue               bool
	}{
		"nightly":              {"schedule", nightEvent, "refs/heads/main", true},
		"by hand on main":      {"workflow_dispatch", nightEvent, "refs/heads/main", true},
		"by hand on a branch":  {"workflow_dispatch", nightEvent, "refs/heads/topic", false},
		"push of a tag main":   {"push", nightEvent, "refs/tags/main", false},
		"pull request":         {"pull_request", pullEvent, "refs/heads/main", false},
		"a night's lean event": {"schedule", `{"schedule":"17 2 * * *"}`, "refs/heads/main", true},
		"nothing known of it":  {"push", "{}", "refs/heads/", false},
		"workflow_run of main": {"workflow_run", runEvent("schedule", "octo/probe", "main"), "refs/heads/main", true},
		"of a fork's main":     {"workflow_run", runEvent("push", "mallory/probe", "main"), "refs/heads/main", false},
		"of a branch":          {"workflow_run", runEvent("push", "octo/probe", "topic"), "refs/heads/main", false},
		"of a pull request":    {"workflow_run", runEvent("pull_request", "octo/probe", "main"), "refs/heads/main", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				e := job(t, tt.event, tt.payload)
				e.Ref = tt.ref
				cfg := config(e)
				cfg.Issue = true
				out := publish(t, f, cfg, red())
				if tt.issue != (len(f.Issues) == 1) || tt.issue == (len(out.Done) == 1 && out.Done[0] == none) || out.Warnings != nil {
					t.Errorf("issues %v, outcome %+v", f.Issues, out)
				}
			})
		})
	}
}

// Nights in a row, with a check of another name in between.
func TestNights(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		tr := f.Transport()
		for i, night := range []Content{green(), red(), red(), red(), green(), green(), red(), green()} {
			for _, name := range []string{DefaultName, "arm64"} {
				cfg := nightJob(t)
				cfg.Issue, cfg.Name, cfg.Transport = true, name, tr
				cfg.Env.RunID, cfg.Env.Attempt = int64(500+i), 1
				if out := publish(t, f, cfg, night); out.Warnings != nil {
					t.Errorf("night %d: %v", i, out)
				}
				time.Sleep(time.Hour)
			}
		}
		notes := map[int]int{}
		for _, c := range f.Comments {
			notes[c.Issue]++
		}
		var got [][2]any
		for _, i := range f.Issues {
			got = append(got, [2]any{i.State, notes[i.Number]})
		}
		want(t, "state and comments of issues", got, [][2]any{{"closed", 3}, {"closed", 3}, {"closed", 1}, {"closed", 1}})
	})
}
