package github

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
)

// runEvent is what GitHub sends for a workflow_run of run 300.
func runEvent(event, headRepo, branch string) string {
	owner, _, _ := strings.Cut(headRepo, "/")
	return fmt.Sprintf(`{"action":"completed","repository":{"full_name":"octo/probe","default_branch":"main"},
		"workflow_run":{"id":300,"run_attempt":4,"event":%q,"head_sha":%q,"head_branch":%q,"pull_requests":[],
		"head_repository":{"full_name":%q,"owner":{"login":%q}}}}`, event, headSHA, branch, headRepo, owner)
}

// A job that was started by a fork's finished run comments on that fork's pull
// request, in the name of that run.
func TestFork(t *testing.T) {
	fork := pullRow{Number: 9, SHA: headSHA, Repo: "mallory/probe", Branch: "patch-1", State: "open"}
	with := func(p pullRow, change func(*pullRow)) pullRow { change(&p); return p }
	const none = "no comment: no open pull request has 6dcb09b5b578 of mallory/probe as its head"
	for name, tt := range map[string]struct {
		pulls []pullRow
		done  string
		on    int
	}{
		"found":                 {[]pullRow{fork}, "commented on #9", 9},
		"it moved on":           {[]pullRow{with(fork, func(p *pullRow) { p.SHA = laterSHA })}, none, 0},
		"it is closed":          {[]pullRow{with(fork, func(p *pullRow) { p.State = "closed" })}, none, 0},
		"another fork's branch": {[]pullRow{with(fork, func(p *pullRow) { p.Repo = "eve/probe" })}, none, 0},
		"another repository":    {[]pullRow{with(fork, func(p *pullRow) { p.Repo = "mallory/probe2" })}, none, 0},
		"the same commit in the repository itself": {
			[]pullRow{{Number: 7, SHA: headSHA, Repo: "octo/probe", Branch: "patch-1", State: "open"}, fork}, "commented on #9", 9,
		},
		"two with the same head": {
			[]pullRow{fork, with(fork, func(p *pullRow) { p.Number = 10 })},
			"no comment: 2 open pull requests have 6dcb09b5b578 of mallory/probe as their head, and which of them was tested is not known", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake(t)
				f.Pulls = tt.pulls
				cfg := config(job(t, "workflow_run", runEvent("pull_request", "mallory/probe", "patch-1")))
				cfg.Comment, cfg.Status = true, true
				want(t, "outcome", publish(t, f, cfg, red()), Outcome{Done: []string{"status of 6dcb09b5b578: failure", tt.done}})
				if tt.on == 0 {
					want(t, "comments", bodies(f), []string(nil))
					return
				}
				if len(f.Comments) != 1 || f.Comments[0].Issue != tt.on {
					t.Fatalf("comments: %v", f.Comments)
				}
				m, _ := parseMarker(f.Comments[0].Body)
				want(t, "marker", m, marker{kindComment, DefaultName, 300, 4, headSHA})
				want(t, "link", f.Statuses[0]["target_url"], any("https://github.com/octo/probe/actions/runs/300/attempts/4"))
			})
		})
	}
}

func TestOrigin(t *testing.T) {
	base := origin{run: 500, attempt: 2, sha: mergeSHA}
	for name, tt := range map[string]struct {
		event, payload, ref string
		want                origin
		err                 string
	}{
		"pull request":  {"pull_request", pullEvent, "refs/pull/7/merge", origin{event: "pull_request", run: 500, attempt: 2, sha: headSHA, pr: 7}, ""},
		"target":        {"pull_request_target", pullEvent, "refs/heads/main", origin{event: "pull_request_target", run: 500, attempt: 2, sha: headSHA, pr: 7}, ""},
		"push":          {"push", nightEvent, "refs/heads/x", origin{event: "push", run: 500, attempt: 2, sha: mergeSHA}, ""},
		"nightly":       {"schedule", nightEvent, "refs/heads/main", origin{event: "schedule", run: 500, attempt: 2, sha: mergeSHA, main: true}, ""},
		"no payload":    {"merge_group", "{}", "", origin{event: "merge_group", run: 500, attempt: 2, sha: mergeSHA}, ""},
		"no repository": {"workflow_run", `{"workflow_run":{"id":3,"event":"push","head_sha":"` + headSHA + `","head_repository":{}}}`, "", origin{event: "push", run: 3, attempt: 1, sha: headSHA}, ""},

		"no pull request":  {"pull_request", nightEvent, "", origin{}, "an event pull_request without a pull_request"},
		"number 0":         {"pull_request", `{"pull_request":{"number":0}}`, "", origin{}, "pull_request.number is 0: want a number from 1"},
		"number too large": {"pull_request", `{"pull_request":{"number":4294967303}}`, "", origin{}, "pull_request.number is 4294967303: want a number from 1"},
		"no head":          {"pull_request", `{"pull_request":{"number":7}}`, "", origin{}, `the head commit is "": want a commit's hash`},
		"head is a path":   {"pull_request", `{"pull_request":{"number":7,"head":{"sha":"../../x\n"}}}`, "", origin{}, `the head commit is "../../x": want a commit's hash`},
		"no workflow run":  {"workflow_run", nightEvent, "", origin{}, "an event workflow_run without a workflow_run"},
		"run 0":            {"workflow_run", `{"workflow_run":{"run_attempt":1}}`, "", origin{}, "workflow_run has id 0 and attempt 1: want numbers from 1"},
		"not JSON":         {"push", "<html>", "", origin{}, "invalid character '<' looking for beginning of value"},
		"cut off":          {"pull_request", pullEvent[:50], "", origin{}, "unexpected end of JSON input"},
		"a string":         {"pull_request", `{"pull_request":"7"}`, "", origin{}, "json: cannot unmarshal string into Go struct field payload.pull_request of type github.PullRequest"},
	} {
		t.Run(name, func(t *testing.T) {
			o := base
			o.event = tt.event
			got, err := o.apply([]byte(tt.payload), tt.ref)
			if got.head = (head{}); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
			if fmt.Sprint(err) != tt.err && (err != nil || tt.err != "") {
				t.Errorf("error %v, want %s", err, tt.err)
			}
		})
	}
}

func TestRunURL(t *testing.T) {
	want(t, "of a pull request", job(t, "pull_request", pullEvent).RunURL(), "https://github.com/octo/probe/actions/runs/500/attempts/2")
	want(t, "of a fork's run", job(t, "workflow_run", runEvent("pull_request", "mallory/probe", "x")).RunURL(), "https://github.com/octo/probe/actions/runs/300/attempts/4")
	want(t, "of a bad event", job(t, "pull_request", "{}").RunURL(), "")
	want(t, "of no job", Env{}.RunURL(), "")
}

func TestGraphQLAddress(t *testing.T) {
	for rest, want := range map[string]string{
		"https://api.github.com":      "https://api.github.com/graphql",
		"https://api.github.com/":     "https://api.github.com/graphql",
		"https://ghe.example/api/v3":  "https://ghe.example/api/graphql",
		"http://127.0.0.1:8080":       "http://127.0.0.1:8080/graphql",
		"https://ghe.example/api/v3/": "https://ghe.example/api/graphql",
	} {
		a, err := newAPI(Env{API: rest, Token: "t"}, nil)
		if err != nil || a.graphql != want || !strings.HasSuffix(a.BaseURL.Path, "/") {
			t.Errorf("%s: %+v, %v, want %s", rest, a, err, want)
		}
	}
}

func FuzzEvent(f *testing.F) {
	for _, event := range []string{"pull_request", "workflow_run", "schedule"} {
		f.Add(event, []byte(pullEvent), "refs/heads/main")
		f.Add(event, []byte(nightEvent), "refs/heads/main")
		f.Add(event, []byte(runEvent("pull_request", "mallory/probe", "x")), "")
		f.Add(event, []byte(runEvent("schedule", "octo/probe", "main")), "")
	}
	f.Fuzz(func(t *testing.T, event string, payload []byte, ref string) {
		o, err := origin{event: event, run: 500, attempt: 2, sha: mergeSHA}.apply(payload, ref)
		if err != nil {
			if o != (origin{}) {
				t.Errorf("%v with %+v", err, o)
			}
			if !json.Valid(payload) && strings.TrimSpace(err.Error()) == "" {
				t.Error("an error without a text")
			}
			return
		}
		if !shaRE.MatchString(o.sha) || o.run < 1 || o.attempt < 1 || o.pr < 0 {
			t.Errorf("taken: %+v", o)
		}
		if o.main && (o.pr != 0 || o.find || isPullRequest(o.event)) {
			t.Errorf("a pull request of the default branch: %+v", o)
		}
		if isPullRequest(event) && o.pr == 0 {
			t.Errorf("%s without a number: %+v", event, o)
		}
	})
}

func TestReadEnv(t *testing.T) {
	for key, bad := range map[string][]string{
		"GITHUB_API_URL":     {"api.github.com", "file:///x", "https://", ":"},
		"GITHUB_SERVER_URL":  {"x"},
		"GITHUB_REPOSITORY":  {"octo", "octo/", "/x", "a/b/c", "../x", "a/..", "a b/c", "a/b?x", "a/b%2f"},
		"GITHUB_RUN_ID":      {"0", "-1", "x", "99999999999999999999"},
		"GITHUB_RUN_ATTEMPT": {"0", "x", "4294967297"},
		"GITHUB_SHA":         {"main", strings.ToUpper(headSHA), headSHA + "0"},
	} {
		for _, v := range bad {
			_, err := ReadEnv(vars(map[string]string{key: v}))
			if err == nil || !strings.HasPrefix(err.Error(), key+" is ") || !strings.Contains(err.Error(), "want") {
				t.Errorf("%s=%s: %v", key, v, err)
			}
		}
	}
	e, err := ReadEnv(vars(map[string]string{"GH_TOKEN": " t\n", "GITHUB_REPOSITORY": "octo/.github"}))
	if err != nil || e.Token != "t" || e.Owner != "octo" || e.Repo != ".github" {
		t.Errorf("%+v, %v", e, err)
	}
}

func FuzzPullRequestHead(f *testing.F) {
	shaA, shaC := strings.Repeat("a", 40), strings.Repeat("0c", 32)
	for _, s := range []string{
		`{}`, `null`, `[]`, `{"pull_request":null}`, `{"pull_request":{"head":{"sha":"` + shaA + `"}}}`,
		`{"pull_request":{"head":{"sha":"` + shaC + `"}},"action":"opened"}`, `{"pull_request":{"head":{"sha":1}}}`, `{"pull_request":{}}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		sha, err := pullRequestHead([]byte(s))
		if sha != "" && (err != nil || len(sha) != 40 && len(sha) != 64 || strings.Trim(sha, "0123456789abcdef") != "") {
			t.Errorf("%q, %v", sha, err)
		}
	})
}

func TestEventFileTooLarge(t *testing.T) {
	path := filepath.Join(t.TempDir(), "event.json")
	if err := os.WriteFile(path, []byte("{}"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, maxEvent+1); err != nil {
		t.Fatal(err)
	}
	if _, err := readOrigin(Env{Event: "push", Payload: path, SHA: headSHA}); err == nil || !strings.Contains(err.Error(), "is larger than 33554432 bytes") {
		t.Error(err)
	}
}

func TestFromFork(t *testing.T) {
	for _, tt := range []struct {
		event, payload string
		fork, err      bool
	}{
		{"push", "", false, false},
		{"pull_request", `{"pull_request":{"head":{"repo":{"full_name":"Octo/Probe"}}},"repository":{"full_name":"octo/probe"}}`, false, false},
		{"pull_request_target", `{"pull_request":{"head":{"repo":{"full_name":"mallory/probe"}}},"repository":{"full_name":"octo/probe"}}`, true, false},
		{"pull_request", `{"pull_request":{"head":{"repo":null}},"repository":{"full_name":"octo/probe"}}`, true, false},
		{"workflow_run", `{"workflow_run":{"head_repository":{"full_name":"octo/probe"}},"repository":{"full_name":"octo/probe"}}`, false, false},
		{"workflow_run", `{"workflow_run":{"head_repository":{"full_name":"mallory/probe"}},"repository":{"full_name":"octo/probe"}}`, true, false},
		{"workflow_run", `{"repository":{"full_name":"octo/probe"}}`, true, false},
		{"issue_comment", `{"repository":{"full_name":"octo/probe"}}`, false, true},
		{"repository_dispatch", "", false, true},
		{"", "", false, false},
		{"merge_group", "", false, false},
		{"pull_request", `{"pull_request":{}}`, false, true},
		{"pull_request", `[`, false, true},
		{"pull_request", "", false, true},
	} {
		e := Env{Event: tt.event}
		if tt.payload != "" {
			e.Payload = filepath.Join(t.TempDir(), "event.json")
			if err := os.WriteFile(e.Payload, []byte(tt.payload), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if fork, err := FromFork(e); fork != tt.fork || (err != nil) != tt.err {
			t.Errorf("%s %s: %v, %v", tt.event, tt.payload, fork, err)
		}
	}
}
