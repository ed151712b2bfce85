package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github"
	"github.com/elastic/bpf-kernel-check/report/markdown"
	"github.com/elastic/bpf-kernel-check/report/merge"
)

func TestInputsBecomeFlags(t *testing.T) {
	for name, tt := range map[string]struct {
		in   string
		want []string
		err  string
	}{
		"nothing":         {`{"kernels":"","attach":""}`, nil, ""},
		"a list":          {`{"kernels":"a\n\n  b c \r\n","kernel":"x"}`, []string{"--kernel=x", "--kernels=a", "--kernels=b c"}, ""},
		"booleans":        {`{"attach":"true"}`, []string{"--attach"}, ""},
		"no boolean":      {`{"attach":"false"}`, nil, ""},
		"a wrong boolean": {`{"attach":"yes"}`, nil, `input attach is "yes": want true or false`},
		"one value":       {`{"test":" ./a -b "}`, []string{"--test=./a -b"}, ""},
		"two values":      {`{"events-trace":"./a\n./b"}`, nil, `input events-trace has 2 lines: want one value`},
		"programs":        {`{"test":"name=a -- ./a\n\n./b -v"}`, []string{"--test=name=a -- ./a", "--test=./b -v"}, ""},
		"not a flag":      {`{"kernels":"--help\n--out=/etc"}`, []string{"--kernels=--help", "--kernels=--out=/etc"}, ""},
		"no shell":        {`{"kernels":"$(id);` + "`id`" + `"}`, []string{"--kernels=$(id);`id`"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := readInputs(tt.in, maxInputs)
			if err != nil {
				t.Fatal(err)
			}
			got, err := in.args((&command{}).runCommand())
			if tt.err != "" {
				if err == nil || err.Error() != tt.err {
					t.Errorf("%v, want %s", err, tt.err)
				}
				return
			}
			if d := cmp.Diff(tt.want, got); d != "" || err != nil {
				t.Error(d, err)
			}
		})
	}
	for name, in := range map[string]string{
		"none": "", "no JSON": "{", "a list": "[]", "null twice": "{} {}", "a number": `{"jobs":3}`, "long": `{"a":"` + strings.Repeat("x", maxInputs) + `"}`,
	} {
		if got, err := readInputs(in, maxInputs); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Whatever the inputs say, only the flags of the command they name are given,
// with one value each.
func FuzzInputs(f *testing.F) {
	f.Add(`{"kernels":"a\nb","test":"./x"}`)
	f.Add(`{"kernels":"--out=x\n-j","attach":"true"}`)
	f.Add(`{"kernels":"\u0000\r\n\ud800"}`)
	f.Add(`{"needs":"{\"a\":\n1}"}`)
	cmds := map[string][]string{}
	c := &command{}
	cmds["run"], cmds["plan"], cmds["merge"] = flagNames(c.runCommand()), flagNames(c.planCommand()), flagNames(c.mergeCommand())
	f.Fuzz(func(t *testing.T, text string) {
		in, err := readInputs(text, maxInputs)
		if err != nil {
			return
		}
		for name, cmd := range map[string]func() ([]string, error){
			"run":   func() ([]string, error) { return in.args(c.runCommand()) },
			"plan":  func() ([]string, error) { return in.args(c.planCommand()) },
			"merge": func() ([]string, error) { return in.args(c.mergeCommand()) },
		} {
			args, err := cmd()
			if err != nil {
				continue
			}
			for _, a := range args {
				flag, _, _ := strings.Cut(strings.TrimPrefix(a, "--"), "=")
				if !strings.HasPrefix(a, "--") || !slices.Contains(cmds[name], flag) || in[flag] == "" {
					t.Fatalf("%s: %q of %q", name, a, text)
				}
			}
		}
	})
}

var artifactNameRE = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,200}$`)

// The artifacts of a check are found by its patterns, and nobody else's are.
func TestArtifactNames(t *testing.T) {
	checks := []string{github.DefaultName, "arm64", "plan", "index", "report", "1of2", "a b", "a-b", "a/b", "a*", "ä", strings.Repeat("x", 100)}
	pattern := func(s string) *regexp.Regexp {
		known := strings.NewReplacer(regexp.QuoteMeta(number), "[0-9]+", regexp.QuoteMeta(planOrIndex), "(plan|index)")
		return regexp.MustCompile("^" + known.Replace(regexp.QuoteMeta(s)) + "$")
	}
	for _, one := range checks {
		n := actionNames{prefix: artifactPrefix(one)}
		for _, other := range checks {
			o := actionNames{prefix: artifactPrefix(other), suffix: "-attempt12", shard: shardChoice{shard: 3, shards: 8}}
			for _, name := range []string{o.shardArtifact(), o.planArtifact(), o.indexArtifact(), o.reportArtifact()} {
				if got, want := pattern(n.runPattern()).MatchString(name), one == other && (name == o.planArtifact() || name == o.indexArtifact()); got != want {
					t.Errorf("%s matches %s: %v", n.runPattern(), name, got)
				}
				if !artifactNameRE.MatchString(name) {
					t.Errorf("%q is no artifact's name", name)
				}
			}
			if got := pattern(n.shardPattern()).MatchString(o.shardArtifact()); got != (one == other) {
				t.Errorf("%s matches %s: %v", n.shardPattern(), o.shardArtifact(), got)
			}
			if got := pattern(n.planPattern()).MatchString(o.planArtifact()); got != (one == other) {
				t.Errorf("%s matches %s: %v", n.planPattern(), o.planArtifact(), got)
			}
			if pattern(n.shardPattern()).MatchString(o.planArtifact()) || pattern(n.shardPattern()).MatchString(o.reportArtifact()) || pattern(n.planPattern()).MatchString(o.shardArtifact()) || pattern(n.planPattern()).MatchString(o.indexArtifact()) || pattern(n.shardPattern()).MatchString(o.indexArtifact()) {
				t.Errorf("the kinds of %q and %q are not apart", one, other)
			}
		}
	}
	n := actionNames{prefix: artifactPrefix(github.DefaultName), suffix: "-attempt2", shard: shardChoice{shard: 3, shards: 8}}
	if got := n.shardArtifact(); got != "bpf-kernel-check-3of8-attempt2" {
		t.Error(got)
	}
}

func TestFindArtifact(t *testing.T) {
	dir := t.TempDir()
	put := func(name string) {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct{ put, want string }{
		{"notes", ""},
		{"plan.json", "plan.json"},
		{"bpf-kernel-check-plan-attempt2/plan.json", "bpf-kernel-check-plan-attempt2/plan.json"},
		{"bpf-kernel-check-plan-attempt10/plan.json", "bpf-kernel-check-plan-attempt10/plan.json"},
		{"bpf-kernel-check-plan-attempt9/plan.json", "bpf-kernel-check-plan-attempt10/plan.json"},
		{"bpf-kernel-check-plan-attempt99999999999/plan.json", "bpf-kernel-check-plan-attempt10/plan.json"},
	} {
		put(tt.put)
		got, err := findArtifact(dir, "plan.json")
		if want := filepath.Join(dir, tt.want); err != nil || got != want && (tt.want != "" || got != "") {
			t.Errorf("with %s: %q, %v, want %q", tt.put, got, err, tt.want)
		}
	}
}

// GitHub sets no INPUT_* for the scripts of a composite action.
func TestActionReadsNoInputVariables(t *testing.T) {
	temp := t.TempDir()
	var read []string
	getenv := func(name string) string {
		read = append(read, name)
		switch name {
		case "INPUTS":
			b, err := json.Marshal(map[string]string{"kernels": temp, "test": "./none", "shard": "1/2"})
			if err != nil {
				t.Error(err)
			}
			return string(b)
		case "INPUTS_FILE":
			b, _ := os.ReadFile(filepath.Join(temp, "output"))
			return actionOutputs(string(b))["inputs"]
		case "RUNNER_TEMP":
			return temp
		case "GITHUB_OUTPUT":
			return filepath.Join(temp, "output")
		}
		return ""
	}
	for _, sub := range []string{"begin-run", "run", "publish-run"} {
		run(t.Context(), []string{"action", sub}, strings.NewReader(""), io.Discard, io.Discard, getenv)
	}
	if !slices.Contains(read, "INPUTS") || !slices.Contains(read, "INPUTS_FILE") {
		t.Fatal("INPUTS was not read")
	}
	for _, name := range read {
		if strings.HasPrefix(name, "INPUT_") {
			t.Errorf("%s was read", name)
		}
	}
}

// Only runs of the default branch leave caches.
func TestActionSaves(t *testing.T) {
	event := filepath.Join(t.TempDir(), "event.json")
	const sha = "6dcb09b5b57875f334f61aebed695e2e4193db5e"
	for _, tt := range []struct {
		event, payload, ref string
		want                bool
	}{
		{"push", `{"repository":{"default_branch":"main"}}`, "refs/heads/main", true},
		{"push", `{"repository":{"default_branch":"main"}}`, "refs/heads/topic", false},
		{"push", `{}`, "refs/heads/", false},
		{"schedule", `{"schedule":"* * * * *"}`, "refs/heads/main", true},
		{"workflow_dispatch", `{"repository":{"default_branch":"main"}}`, "refs/heads/main", true},
		// Somebody's comment, with the default branch's ref.
		{"issue_comment", `{"repository":{"default_branch":"main"}}`, "refs/heads/main", false},
		{"discussion_comment", `{"repository":{"default_branch":"main"}}`, "refs/heads/main", false},
		{"repository_dispatch", `{"repository":{"default_branch":"main"}}`, "refs/heads/main", false},
		{"merge_group", `{"repository":{"default_branch":"main"}}`, "refs/heads/main", false},
		{"pull_request", `{"pull_request":{"number":1,"head":{"sha":"` + sha + `"}},"repository":{"default_branch":"main"}}`, "refs/heads/main", false},
		{"pull_request_target", `{"pull_request":{"number":1,"head":{"sha":"` + sha + `"}},"repository":{"default_branch":"main"}}`, "refs/heads/main", false},
		{"workflow_run", `{"workflow_run":{"id":1,"head_branch":"main","head_sha":"` + sha + `","head_repository":{"full_name":"o/r"}},"repository":{"full_name":"o/r","default_branch":"main"}}`, "refs/heads/main", false},
	} {
		if err := os.WriteFile(event, []byte(tt.payload), 0o644); err != nil {
			t.Fatal(err)
		}
		s := &actionStep{c: &command{stderr: io.Discard}, env: github.Env{Event: tt.event, Payload: event, Ref: tt.ref, SHA: sha}}
		if got := s.saves(); got != tt.want {
			t.Errorf("%s of %s: %v", tt.event, tt.ref, got)
		}
	}
}

// apt is asked again, and for nothing that is there. Another's repository, for
// which it cannot update its lists, is in nobody's way.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	install := func(name, script string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	install("sudo", `shift; exec "$@"`)
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, tt := range []struct {
		needed, broken, want string
		packages             []string
		asked                int
	}{
		{"1", "", "", nil, 0},
		{"1", "", "", []string{"gpgv"}, 1},
		{"1", "no key", "", []string{"gpgv"}, 1},
		{"3", "", "", []string{"gpgv", "dpkg"}, 3},
		{"4", "", "install gpgv: apt-get: exit status 1: install them on the runner", []string{"gpgv"}, 3},
		{"4", "no key", "install gpgv: apt-get: exit status 1, after apt-get update: apt-get: exit status 1: E: no key: install them on the runner", []string{"gpgv"}, 3},
	} {
		// It is given little of this test's environment.
		install("apt-get", fmt.Sprintf(`broken=%q needed=%s; echo "apt-get $*" >>%q
if [ "$1" = update ]; then echo "E: $broken"; [ -z "$broken" ]; exit; fi
[ "$(grep -c install %[3]q)" -ge "$needed" ]`, tt.broken, tt.needed, log))
		if err := os.WriteFile(log, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		c := &command{stdout: io.Discard, stderr: io.Discard, getenv: func(string) string { return "" }}
		err := c.install(t.Context(), tt.packages)
		if got := errText(err); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
		b, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		want := []byte("--no-install-recommends -o DPkg::Lock::Timeout=120 " + strings.Join(tt.packages, " ") + "\n")
		if got := bytes.Count(b, want); got != tt.asked {
			t.Errorf("asked %d times, want %d:\n%s", got, tt.asked, b)
		}
	}
}

// What a list of sources needs is installed as well.
func TestInstallForAList(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "kernels.txt")
	if err := os.WriteFile(list, []byte("debian:trixie:cloud-amd64 newest:1\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir) // no command is there
	for kernels, want := range map[string]string{dir: "", " @" + list + "\n\n": "apt dpkg gpgv", "ubuntu:noble": "apt dpkg gpgv", "debian:none": ""} {
		got := missingSources(inputs{"kernels": kernels})
		if strings.Join(got, " ") != want {
			t.Errorf("%q lacks %q, want %q", kernels, got, want)
		}
	}
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A shard that was cut short says so in its outputs, even when all that it did
// passed.
func TestActionOutputsOfAShard(t *testing.T) {
	list := []report.PlanKernel{{ID: "debian/1", Digest: "sha256:" + strings.Repeat("1", 64)}, {ID: "debian/2", Digest: "sha256:" + strings.Repeat("2", 64)}}
	plan := report.Plan{Tool: "t", List: report.ListDigest(list), Algorithm: "rendezvous", Shard: 1, Shards: 2, Attempt: 1, Arch: "amd64", Kernels: []string{"debian/1", "debian/2"}}
	kernel := func(i int, v report.Verdict) report.Result {
		k := report.Result{ID: list[i].ID, Digest: list[i].Digest, Verdict: v, Attempts: 1, Accel: "tcg", Tests: []report.Test{{Name: "a", Verdict: "pass"}}}
		if v != report.Pass {
			k.Cause = &report.Cause{Title: "why"}
		}
		return k
	}
	for name, tt := range map[string]struct {
		kernels  []report.Result
		complete bool
		want     string
	}{
		"all":        {[]report.Result{kernel(0, report.Pass), kernel(1, report.Pass)}, true, "pass 2 0 0"},
		"no end":     {[]report.Result{kernel(0, report.Pass), kernel(1, report.Pass)}, false, "missing 2 0 0"},
		"cut short":  {[]report.Result{kernel(0, report.Pass)}, false, "missing 1 0 1"},
		"a failure":  {[]report.Result{kernel(0, report.Fail)}, false, "fail 0 1 1"},
		"not tested": {[]report.Result{kernel(0, report.Infra), kernel(1, report.Pass)}, true, "missing 1 0 1"},
		"a crash":    {[]report.Result{kernel(0, report.Crash), kernel(1, report.Pass)}, true, "fail 1 1 0"},
		"none":       {nil, false, "missing 0 0 2"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			w, err := report.CreateShardFile(dir, plan)
			if err != nil {
				t.Fatal(err)
			}
			for _, k := range tt.kernels {
				if err := w.Kernel(k); err != nil {
					t.Fatal(err)
				}
			}
			if err := w.Close(tt.complete); err != nil {
				t.Fatal(err)
			}
			output := filepath.Join(dir, "output")
			s := &actionStep{c: &command{stderr: io.Discard}, env: github.Env{Output: output}, ci: ciRun{attempt: 1}, names: actionNames{shard: shardChoice{1, 2, ""}}}
			if err := s.afterRun(dir); err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(output)
			if err != nil {
				t.Fatal(err)
			}
			rows := strings.Split(string(b), "\n")
			if got := strings.Join([]string{rows[1], rows[4], rows[7], rows[10]}, " "); got != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}

// What somebody sees who has written a workflow from the documents alone, and
// has got something wrong: an annotation that says what was expected and what to
// do, a summary that says it too, and never a pass.
func TestActionMessages(t *testing.T) {
	const noFile = `does an earlier step of this job check the repository out`
	work := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(filepath.Join(work, name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(work, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, n := range []string{"1", "2", "3"} {
		put("kernels/debian/6.1."+n+"__x.tar.gz", "none "+n)
	}
	put("empty/x", "")
	put("lists/missing.txt", "no-such-directory\n")
	t.Chdir(work)
	for name, tt := range map[string]struct {
		step    string
		in      map[string]string
		code    int
		want    []string // in one annotation
		summary string   // "": there is none
	}{
		"nothing":              {"run", nil, 2, []string{"no kernels to test: name a source", "debian:bookworm:cloud-amd64", "(in a workflow, inputs: kernels)"}, "no kernels to test"},
		"no payload":           {"run", map[string]string{"kernels": "kernels"}, 2, []string{"nothing to run", "(in a workflow, inputs: go, test, objects, events-trace)"}, "nothing to run"},
		"no such payload":      {"run", map[string]string{"kernels": "kernels", "test": "./probe.test -test.v"}, 2, []string{`"./probe.test" does not exist`, noFile}, noFile},
		"no such list":         {"plan", map[string]string{"kernels": "@kernels.txt", "shards": "2"}, 2, []string{"kernels.txt", noFile}, ""},
		"a list of nothing":    {"plan", map[string]string{"kernels": "@lists/missing.txt", "shards": "2"}, 2, []string{"lists/no-such-directory", "is not there: expected debian:<suite>"}, ""},
		"an empty directory":   {"plan", map[string]string{"kernels": "empty", "shards": "2"}, 2, []string{`"empty" holds no kernels: expected`}, ""},
		"a typo":               {"plan", map[string]string{"kernels": "debian:bookwurm", "shards": "2"}, 2, []string{`did you mean "bookworm"?`}, ""},
		"no shards":            {"plan", map[string]string{"kernels": "kernels"}, 0, []string{"1 of 4 jobs will start for nothing"}, ""},
		"two ways to split":    {"plan", map[string]string{"kernels": "kernels", "shards": "2", "target-minutes": "5"}, 2, []string{"how many shards?", "(in a workflow, inputs: shards, target-minutes)"}, ""},
		"too many shards":      {"plan", map[string]string{"kernels": "kernels", "shards": "257"}, 2, []string{"want 1 to 256, as many jobs as GitHub allows in a matrix"}, ""},
		"empty shards":         {"plan", map[string]string{"kernels": "kernels", "shards": "256"}, 0, []string{"253 of 256 jobs will start for nothing: there are only 3 kernels"}, ""},
		"no number":            {"plan", map[string]string{"kernels": "kernels", "shards": "two"}, 2, []string{`--shards is "two": want a whole number, such as 4`}, ""},
		"a shard alone":        {"run", map[string]string{"kernels": "kernels", "test": "./x", "shard": "3"}, 2, []string{`--shard is "3": want i/n, such as 2/8`}, ""},
		"a time without unit":  {"run", map[string]string{"kernels": "kernels", "test": "./x", "timeout": "5"}, 2, []string{`--timeout is "5": want a time with its unit`}, ""},
		"yes":                  {"run", map[string]string{"kernels": "kernels", "test": "./x", "comment": "yes"}, 2, []string{`input comment is "yes": want true or false`}, ""},
		"two programs":         {"run", map[string]string{"kernels": "kernels", "events-trace": "./x\n::error::x"}, 2, []string{"input events-trace has 2 lines: want one value"}, ""},
		"a workflow command":   {"plan", map[string]string{"kernels": "::error::%0Ax", "shards": "2"}, 2, []string{"::error::%250Ax", "is not there: expected"}, ""},
		"an expression":        {"plan", map[string]string{"kernels": "${{ vars.NONE }}", "shards": "2"}, 2, []string{`"${{ vars.NONE }}" is not there`}, ""},
		"a page that is none":  {"report", map[string]string{"page-url": "javascript:x"}, 2, []string{"input page-url", "want the address of report.html"}, ""},
		"no such plan":         {"report", map[string]string{"plan": "plan.json"}, 2, []string{"--plan: open plan.json", "give the plan.json that the shards were run by", noFile}, "give the plan.json"},
		"no shard left a file": {"report", map[string]string{"name": "arm64", "status": "true"}, 3, []string{"no artifact bpf-kernel-check-arm64-<i>of<n>-attempt<a>", "have the same name (arm64)?"}, "no shard file was found"},
		"needs by hand":        {"report", map[string]string{"needs": "success"}, 3, []string{"want toJSON(needs)"}, "want toJSON(needs)"},
		"no token":             {"report", map[string]string{"comment": "true"}, 3, []string{"there is no token: leave the action's input token away"}, "no shard file was found"},
	} {
		t.Run(name, func(t *testing.T) {
			temp := t.TempDir()
			in, err := json.Marshal(tt.in)
			if err != nil {
				t.Fatal(err)
			}
			if tt.in == nil {
				in = []byte("{}")
			}
			env := map[string]string{
				"INPUTS": string(in), "GITHUB_ACTIONS": "true", "RUNNER_TEMP": temp, "GITHUB_OUTPUT": filepath.Join(temp, "output"), "GITHUB_STEP_SUMMARY": filepath.Join(temp, "summary"),
				"GITHUB_RUN_ID": "5", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_REPOSITORY": "octo/probe", "GITHUB_SHA": strings.Repeat("a", 40), "GITHUB_EVENT_NAME": "pull_request",
				"GITHUB_REF": "refs/pull/7/merge", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_API_URL": "http://127.0.0.1:9", "GITHUB_EVENT_PATH": filepath.Join(temp, "event.json"), "PATH": os.Getenv("PATH"),
			}
			if err := os.WriteFile(env["GITHUB_EVENT_PATH"], []byte(actPull), 0o644); err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			code := runAction(t, env, tt.step, &out)
			if code != tt.code {
				t.Errorf("exit code %d, want %d\n%s", code, tt.code, &out)
			}
			found := false
			for line := range strings.Lines(out.String()) {
				ok := strings.HasPrefix(line, "::error title=") || strings.HasPrefix(line, "::warning title=")
				for _, w := range tt.want {
					ok = ok && strings.Contains(line, w)
				}
				found = found || ok
			}
			if !found {
				t.Errorf("no annotation has %q\n%s", tt.want, &out)
			}
			summary, err := os.ReadFile(env["GITHUB_STEP_SUMMARY"])
			if (err == nil) != (tt.summary != "") || !strings.Contains(string(summary), tt.summary) {
				t.Errorf("summary %v, want %q:\n%s", err, tt.summary, summary)
			}
			outputs, err := os.ReadFile(env["GITHUB_OUTPUT"])
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			if regexp.MustCompile(`(?m)^pass$`).Match(outputs) {
				t.Errorf("outputs have a pass:\n%s", outputs)
			}
		})
	}
}

// Results are reused from a cache of the user's own only, and never for what
// somebody else proposes.
func TestActionReuses(t *testing.T) {
	for event, want := range map[string]bool{
		"push": true, "schedule": true, "workflow_dispatch": true, "pull_request": false, "pull_request_target": false,
		"workflow_run": false, "merge_group": false, "issue_comment": false, "": false,
	} {
		s := &actionStep{env: github.Env{Event: event}}
		if got := s.noReuse(false) == ""; got != want {
			t.Errorf("%q: %v, %s", event, got, s.noReuse(false))
		}
		if s.noReuse(true) == "" {
			t.Errorf("%q: with the action's own cache", event)
		}
	}
}

// actionOutputs reads what a step has written to GITHUB_OUTPUT.
func actionOutputs(text string) map[string]string {
	outputs := map[string]string{}
	for rest := text; rest != ""; {
		var head, value string
		head, rest, _ = strings.Cut(rest, "\n")
		name, word, _ := strings.Cut(head, "<<")
		value, rest, _ = strings.Cut(rest, "\n"+word+"\n")
		outputs[name] = value
	}
	return outputs
}

// runAction runs the steps of an action as action.yml does, without the inputs
// where they are not, and returns the first exit code that is not 0.
func runAction(t *testing.T, env map[string]string, which string, out io.Writer) (code int) {
	t.Helper()
	outputs := map[string]string{}
	step := func(name string, env map[string]string) {
		c := run(t.Context(), []string{"action", name}, strings.NewReader(""), out, out, func(k string) string { return env[k] })
		if code == 0 {
			code = c
		}
		b, err := os.ReadFile(env["GITHUB_OUTPUT"])
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		outputs = actionOutputs(string(b))
	}
	step("begin-"+which, env)
	if code != 0 {
		return code
	}
	later := maps.Clone(env)
	delete(later, "INPUTS")
	later["INPUTS_FILE"] = outputs["inputs"]
	step(which, later)
	if outputs["publish"] == "true" {
		step("publish-run", later)
	}
	return code
}

// Later steps get the inputs from a file that has no token, only the job's user
// can read, and is this use's alone.
func TestActionLeavesNoToken(t *testing.T) {
	temp := t.TempDir()
	long := strings.Repeat("&<>", 40<<10) // as long in the file
	env := map[string]string{"RUNNER_TEMP": temp, "GITHUB_OUTPUT": filepath.Join(temp, "output"), "INPUTS": `{"kernels":"a\n` + long + `","test":"./x","token":"ghs_secret"}`}
	getenv := func(k string) string { return env[k] }
	var files []string
	for range 2 {
		if code := run(t.Context(), []string{"action", "begin-run"}, strings.NewReader(""), io.Discard, io.Discard, getenv); code != 0 {
			t.Fatal(code)
		}
		b, err := os.ReadFile(env["GITHUB_OUTPUT"])
		if err != nil {
			t.Fatal(err)
		}
		file := actionOutputs(string(b))["inputs"]
		info, err := os.Stat(file)
		if err != nil || info.Mode() != 0o600 {
			t.Fatalf("%v, %v", info, err)
		}
		b, err = os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		in, err := readInputs(string(b), maxLeft)
		if d := cmp.Diff(inputs{"kernels": "a\n" + long, "test": "./x", "timeout-total": "5h30m"}, in); d != "" || err != nil {
			t.Error(d, err)
		}
		files = append(files, file)
	}
	if files[0] == files[1] {
		t.Errorf("two uses have the same file %s", files[0])
	}
	var out bytes.Buffer
	if code := run(t.Context(), []string{"action", "run"}, strings.NewReader(""), &out, &out, getenv); code != 2 || !strings.Contains(out.String(), "INPUTS_FILE: open") {
		t.Errorf("exit code %d: %s", code, &out)
	}
}

// What an earlier use of the action has left in the same directory, or in the
// same job, does not pass for the result of one that could not boot anything.
func TestActionSecondUse(t *testing.T) {
	list := []report.PlanKernel{{ID: "debian/1", Digest: "sha256:" + strings.Repeat("1", 64)}}
	for name, tt := range map[string]struct {
		shard  shardChoice
		killed bool // before it could leave anything
		want   string
	}{
		"the whole list": {shardChoice{}, false, `no result: ` + "`" + `payload "./nope" does not exist`},
		"a shard":        {shardChoice{1, 2, ""}, false, ""},
		"killed":         {shardChoice{}, true, "kernels were not booted"},
	} {
		t.Run(name, func(t *testing.T) {
			out, temp := t.TempDir(), t.TempDir()
			plan := report.Plan{Tool: "t", List: report.ListDigest(list), Algorithm: "rendezvous", Shard: max(tt.shard.shard, 1), Shards: max(tt.shard.shards, 1), Attempt: 1, Arch: "amd64", Kernels: []string{"debian/1"}}
			w, err := report.CreateShardFile(out, plan)
			if err == nil {
				err = w.Kernel(report.Result{ID: "debian/1", Digest: list[0].Digest, Verdict: report.Pass, Attempts: 1, Accel: "tcg", Tests: []report.Test{{Name: "a", Verdict: "pass"}}})
			}
			if err == nil {
				err = w.Close(true)
			}
			if err == nil && tt.shard.shards == 0 {
				_, err = reportAlone(out, plan.ShardFileName(), merge.Options{At: time.Now()}, markdown.Options{}, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
			in := map[string]string{"kernels": out, "test": "./nope", "out": out}
			if tt.shard.shards > 0 {
				in["shard"] = "1/2"
			}
			b, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			env := map[string]string{
				"INPUTS": string(b), "RUNNER_TEMP": temp, "GITHUB_OUTPUT": filepath.Join(temp, "output"), "GITHUB_STEP_SUMMARY": filepath.Join(temp, "summary"), "PATH": os.Getenv("PATH"),
			}
			var log bytes.Buffer
			if tt.killed {
				getenv := func(k string) string { return env[k] }
				for _, name := range []string{"begin-run", "publish-run"} {
					code := run(t.Context(), []string{"action", name}, strings.NewReader(""), &log, &log, getenv)
					if (code == 0) != (name == "begin-run") {
						t.Errorf("%s: exit code %d", name, code)
					}
					b, err := os.ReadFile(env["GITHUB_OUTPUT"])
					if err != nil {
						t.Fatal(err)
					}
					env["INPUTS_FILE"] = actionOutputs(string(b))["inputs"]
				}
			} else if code := runAction(t, env, "run", &log); code != 2 {
				t.Errorf("exit code %d", code)
			}
			b, err = os.ReadFile(env["GITHUB_OUTPUT"])
			if err != nil {
				t.Fatal(err)
			}
			// An artifact has nothing of that use either, nor has a test reporter.
			for _, name := range []string{plan.ShardFileName(), junitName} {
				if exists(filepath.Join(out, name)) {
					t.Errorf("%s of an earlier use is in the results", name)
				}
			}
			if got := actionOutputs(string(b)); got["verdict"] != "missing" || got["passed"] != "0" {
				t.Errorf("outputs %q\n%s", got, &log)
			}
			summary, err := os.ReadFile(env["GITHUB_STEP_SUMMARY"])
			if (err == nil) != (tt.want != "") || !strings.Contains(string(summary), tt.want) {
				t.Errorf("summary %v, want %q:\n%s", err, tt.want, summary)
			}
		})
	}
}

// Without artifacts no step has anything to do with one.
func TestActionWithoutArtifacts(t *testing.T) {
	for in, want := range map[string]map[string]string{
		`{}`:                                    {"artifact": "bpf-kernel-check-1of1-attempt1", "publish": "true"},
		`{"artifacts":"true","shard":"1/2"}`:    {"artifact": "bpf-kernel-check-1of2-attempt1", "plan-pattern": "bpf-kernel-check-@(plan|index)-attempt+([0-9])"},
		`{"artifacts":"false"}`:                 {"publish": "true"},
		`{"artifacts":" false ","shard":"1/2"}`: {},
	} {
		temp := t.TempDir()
		env := map[string]string{"RUNNER_TEMP": temp, "GITHUB_OUTPUT": filepath.Join(temp, "output"), "INPUTS": in}
		if code := run(t.Context(), []string{"action", "begin-run"}, strings.NewReader(""), io.Discard, io.Discard, func(k string) string { return env[k] }); code != 0 {
			t.Fatal(code)
		}
		b, err := os.ReadFile(env["GITHUB_OUTPUT"])
		if err != nil {
			t.Fatal(err)
		}
		got := actionOutputs(string(b))
		for _, name := range []string{"artifact", "plan-pattern", "publish"} {
			if got[name] != want[name] {
				t.Errorf("%s: output %s is %q, want %q", in, name, got[name], want[name])
			}
		}
	}
}

// A job's log says in one line where its time went.
func TestLaps(t *testing.T) {
	begin := time.Unix(1000, 0)
	l := &laps{begin: begin, last: begin}
	at := func(s float64) time.Time { return begin.Add(time.Duration(s * float64(time.Second))) }
	l.endAt("program", at(1.24))
	l.endAt("QEMU", at(13.34))
	l.endAt("kernel", at(20))
	l.endAt("VMs", at(61.2))
	l.endAt("clock", at(2)) // went back
	if got, want := l.String(), "61.2 s: program 1.2, QEMU 12.1, kernel 6.7, VMs 41.2"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	var none *laps
	none.end("x") // outside of the action
}
