package github

import (
	"bytes"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
)

var update = flag.Bool("update", false, "write golden files anew")

const (
	mergeSHA = "1111111111111111111111111111111111111111"
	laterSHA = "2222222222222222222222222222222222222222"
)

// job is the environment of a job for pull request 7.
func job(t *testing.T, event, payload string) Env {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "event.json")
	if err := os.WriteFile(path, []byte(payload), 0o644); err != nil {
		t.Fatal(err)
	}
	e, err := ReadEnv(vars(map[string]string{
		"GITHUB_ACTIONS":      "true",
		"GITHUB_API_URL":      "https://api.github.com",
		"GITHUB_SERVER_URL":   "https://github.com",
		"GITHUB_REPOSITORY":   "octo/probe",
		"GITHUB_RUN_ID":       "500",
		"GITHUB_RUN_ATTEMPT":  "2",
		"GITHUB_EVENT_NAME":   event,
		"GITHUB_EVENT_PATH":   path,
		"GITHUB_SHA":          mergeSHA,
		"GITHUB_REF":          "refs/heads/main",
		"GITHUB_TOKEN":        "secret",
		"GITHUB_STEP_SUMMARY": filepath.Join(dir, "summary"),
		"GITHUB_OUTPUT":       filepath.Join(dir, "output"),
	}))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func vars(m map[string]string) func(string) string { return func(k string) string { return m[k] } }

const (
	pullEvent  = `{"number":7,"pull_request":{"number":7,"head":{"sha":"` + headSHA + `"}},"repository":{"full_name":"octo/probe","default_branch":"main"}}`
	nightEvent = `{"schedule":"0 3 * * *","repository":{"full_name":"octo/probe","default_branch":"main"}}`
)

func pullJob(t *testing.T) Config {
	return config(job(t, "pull_request", pullEvent))
}

func nightJob(t *testing.T) Config {
	e := job(t, "schedule", nightEvent)
	e.SHA = headSHA
	return config(e)
}

func config(e Env) Config {
	return Config{Env: e, Name: DefaultName, Log: NewLog(&bytes.Buffer{})}
}

func logged(cfg Config) string { return cfg.Log.Unwrap().(*bytes.Buffer).String() }

func red() Content {
	return Content{
		Verdict: report.Fail, Body: "**3 kernels fail**, 117 of 120 pass\n", Summary: "# Result\n\n3 kernels fail\n",
		Status:      "117 of 120 kernels pass, 3 fail",
		Annotations: []analysis.Annotation{{Title: "debian/6.12", Message: "fail: reg type unsupported"}},
		Outputs:     []Output{{"verdict", "fail"}, {"passed", "117"}},
	}
}

func green() Content {
	return Content{Verdict: report.Pass, Body: "**All 120 kernels pass**\n", Summary: "# Result\n\nall pass\n", Status: "120 of 120 kernels pass"}
}

// publish does it in a bubble and holds what always holds: the API was asked
// for no longer than allowed, and its writes were a second apart.
func publish(t *testing.T, f *fake, cfg Config, c Content) Outcome {
	t.Helper()
	if cfg.Transport == nil {
		cfg.Transport = f.Transport()
	}
	f.Mu.Lock()
	f.Writes = nil
	f.Mu.Unlock()
	start := time.Now()
	out := Publish(t.Context(), cfg, c)
	if d := time.Since(start); d > totalTime {
		t.Errorf("it took %s", d)
	}
	f.Mu.Lock()
	defer f.Mu.Unlock()
	for i := 1; i < len(f.Writes); i++ {
		if d := f.Writes[i].Sub(f.Writes[i-1]); d < time.Second {
			t.Errorf("only %s between the writes %d and %d", d, i, i+1)
		}
	}
	return out
}

func bodies(f *fake) []string {
	var all []string
	for _, c := range f.Comments {
		all = append(all, c.Body)
	}
	return all
}

func want(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got, cmp.AllowUnexported(issueRow{}), cmp.Comparer(func(a, b marker) bool { return a == b })); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func TestPublish(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := pullJob(t)
		cfg.Comment, cfg.Status, cfg.CheckRun = true, true, true
		out := publish(t, f, cfg, red())
		want(t, "outcome", out, Outcome{Done: []string{
			"status of 6dcb09b5b578: failure", "commented on #7", "check run for 6dcb09b5b578",
		}})
		want(t, "statuses", f.Statuses, []map[string]any{{
			"state": "failure", "context": "bpf-kernel-check", "description": "117 of 120 kernels pass, 3 fail",
			"target_url": "https://github.com/octo/probe/actions/runs/500/attempts/2",
		}})
		if len(f.Comments) != 1 || f.Comments[0].Issue != 7 {
			t.Fatalf("comments: %v", f.Comments)
		}
		golden(t, "comment.md", f.Comments[0].Body)
		want(t, "check runs", f.Checks, []map[string]any{{
			"name": "bpf-kernel-check", "head_sha": headSHA, "status": "completed", "conclusion": "failure",
			"details_url": "https://github.com/octo/probe/actions/runs/500/attempts/2",
			"output": map[string]any{
				"title": "117 of 120 kernels pass, 3 fail", "summary": "**3 kernels fail**, 117 of 120 pass\n",
				"annotations": []any{map[string]any{
					"path": ".github", "start_line": 1., "end_line": 1., "annotation_level": "failure",
					"title": "debian/6.12", "message": "fail: reg type unsupported",
				}},
			},
		}})
		want(t, "log", logged(cfg), "::error title=debian/6.12::fail: reg type unsupported\n")
		want(t, "summary", readFile(t, cfg.Env.Summary), "# Result\n\n3 kernels fail\n\n")
	})
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want(t, name, got, readFile(t, path))
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Nothing is asked of GitHub when nothing was asked for.
func TestPublishLocally(t *testing.T) {
	f := newFake(t)
	cfg := pullJob(t)
	cfg.Env.Token = ""
	want(t, "outcome", publish(t, f, cfg, red()), Outcome{})
	want(t, "requests", f.Requests, []string(nil))
	if s := readFile(t, cfg.Env.Output); !strings.Contains(s, "verdict<<") {
		t.Errorf("outputs: %q", s)
	}
}

func TestStatusStates(t *testing.T) {
	if got := (&publisher{content: Content{Verdict: report.Pass, EarlierBad: true}}).state(); got != "failure" {
		t.Errorf("a pass of new kernels where others have failed: %s", got)
	}
	for v := report.Unknown; v <= report.Missing; v++ {
		want := "error"
		switch v {
		case report.Pass:
			want = "success"
		case report.Fail, report.Crash, report.Timeout:
			want = "failure"
		}
		if got := (&publisher{content: Content{Verdict: v}}).state(); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
		if got := (&publisher{content: Content{Verdict: v, Advisory: true}}).state(); got != "success" { // the description says what it is
			t.Errorf("%v, advisory: %s, want success", v, got)
		}
	}
}

// Of two runs of one commit the newer one's status stays, whichever ends first.
func TestStatusOfNewerRun(t *testing.T) {
	const runs = "https://github.com/octo/probe/actions/runs/"
	for name, tt := range map[string]struct {
		have [][2]string // name, link; oldest first
		set  bool
	}{
		"none":                 {nil, true},
		"older":                {[][2]string{{DefaultName, runs + "499/attempts/7"}}, true},
		"the same":             {[][2]string{{DefaultName, runs + "500/attempts/2"}}, true},
		"newer run":            {[][2]string{{DefaultName, runs + "501/attempts/1"}}, false},
		"newer attempt":        {[][2]string{{DefaultName, runs + "500/attempts/3"}}, false},
		"newer behind others":  {[][2]string{{DefaultName, runs + "501/attempts/1"}, {"arm64", runs + "1/attempts/1"}, {DefaultName, "https://x"}}, false},
		"another check's":      {[][2]string{{"arm64", runs + "501/attempts/1"}}, true},
		"of something else":    {[][2]string{{DefaultName, "https://ci.example/501/attempts/1"}}, true},
		"no number":            {[][2]string{{DefaultName, runs + "x/attempts/1"}}, true},
		"a number and no more": {[][2]string{{DefaultName, runs + "501"}}, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				for _, s := range tt.have {
					f.Statuses = append(f.Statuses, map[string]any{"state": "failure", "context": s[0], "target_url": s[1], "description": "x"})
				}
				cfg := pullJob(t)
				cfg.Status = true
				out := publish(t, f, cfg, green())
				done := "status of 6dcb09b5b578: success"
				if !tt.set {
					done = "the status of 6dcb09b5b578 is of the newer run 501 and stays"
					if name == "newer attempt" {
						done = "the status of 6dcb09b5b578 is of the newer run 500 and stays"
					}
				}
				want(t, "outcome", out, Outcome{Done: []string{done}})
				if set := len(f.Statuses) > len(tt.have); set != tt.set {
					t.Errorf("statuses: %v", f.Statuses)
				}
			})
		})
	}
}

func TestStatusDescriptionIsShort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := pullJob(t)
		cfg.Status, cfg.Name = true, "arm64"
		c := red()
		c.Status = strings.Repeat("ä long\n", 60)
		want(t, "warnings", publish(t, f, cfg, c).Warnings, []string(nil))
		if len(f.Statuses) != 1 || f.Statuses[0]["context"] != "arm64" {
			t.Errorf("statuses: %v", f.Statuses)
		}
	})
}

func TestPending(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := pullJob(t)
		cfg.Transport = f.Transport()
		want(t, "outcome", Pending(t.Context(), cfg), Outcome{Done: []string{"status of 6dcb09b5b578: pending"}})
		if len(f.Statuses) != 1 || f.Statuses[0]["state"] != "pending" {
			t.Errorf("statuses: %v", f.Statuses)
		}
	})
}

func TestCheckRunIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := pullJob(t)
		cfg.CheckRun = true
		c := green()
		c.Body = strings.Repeat("0123456789abcde\n\n", 5000)
		for i := range analysis.MaxAnnotations {
			c.Annotations = append(c.Annotations, analysis.Annotation{Title: fmt.Sprint(i), Message: strings.Repeat("é", 5000)})
		}
		want(t, "warnings", publish(t, f, cfg, c).Warnings, []string(nil))
		seen := 0
		for _, check := range f.Checks {
			for _, a := range check["output"].(map[string]any)["annotations"].([]any) {
				if got := a.(map[string]any)["title"]; got != fmt.Sprint(seen) {
					t.Errorf("annotation %d is %v", seen, got)
				}
				seen++
			}
		}
		if len(f.Checks) != 1 || seen != analysis.MaxAnnotations {
			t.Errorf("%d requests, %d annotations", len(f.Checks), seen)
		}
		if f.Checks[0]["conclusion"] != "success" {
			t.Errorf("requests: %v", f.Requests)
		}
	})
}

// What is not proven to pass must not count as passed where the check is
// required.
func TestCheckRunOfUntested(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake(t)
		cfg := pullJob(t)
		cfg.CheckRun = true
		c := green()
		c.Verdict = report.Missing
		publish(t, f, cfg, c)
		c.Advisory = true
		publish(t, f, cfg, c)
		if len(f.Checks) != 2 || f.Checks[0]["conclusion"] != "failure" || f.Checks[1]["conclusion"] != "neutral" {
			t.Errorf("check runs: %v", f.Checks)
		}
	})
}

// Without what the API needs there is one warning, and what is local is done.
func TestNoEnvironment(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Config)
		want   string
	}{
		"no token":      {func(c *Config) { c.Env.Token = "" }, "nothing was sent to GitHub: there is no token: leave the action's input token away, or set GITHUB_TOKEN to ${{ github.token }} in the env of a step that runs publish"},
		"no run":        {func(c *Config) { c.Env.RunID = 0 }, "nothing was sent to GitHub: GITHUB_RUN_ID is not set: it can only be done in a job of GitHub Actions"},
		"no repository": {func(c *Config) { c.Env.Owner = "" }, "nothing was sent to GitHub: GITHUB_REPOSITORY is not set: it can only be done in a job of GitHub Actions"},
		"no event":      {func(c *Config) { c.Env.Payload = "" }, "nothing was sent to GitHub: GITHUB_EVENT_PATH is not set: the pull request of a pull_request event is not known without it"},
		"no event file": {func(c *Config) { c.Env.Payload = "gone" }, `nothing was sent to GitHub: event file "gone": open gone: no such file or directory`},
		"bad variable":  {func(c *Config) { c.EnvError = fmt.Errorf("GITHUB_SHA is %q", "x") }, `nothing was sent to GitHub: GITHUB_SHA is "x"`},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			cfg := pullJob(t)
			cfg.Comment, cfg.Status = true, true
			tt.change(&cfg)
			cfg.Transport = http.DefaultTransport // never reached
			want(t, "outcome", publish(t, f, cfg, red()), Outcome{Warnings: []string{tt.want}})
			if !strings.Contains(readFile(t, cfg.Env.Summary), "3 kernels fail") {
				t.Error("no job summary")
			}
		})
	}
}
