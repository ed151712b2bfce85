package main

import (
	"bytes"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github"
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
		"two values":      {`{"test":"./a\n./b"}`, nil, `input test has 2 lines: want one value`},
		"not a flag":      {`{"kernels":"--help\n--out=/etc"}`, []string{"--kernels=--help", "--kernels=--out=/etc"}, ""},
		"no shell":        {`{"kernels":"$(id);` + "`id`" + `"}`, []string{"--kernels=$(id);`id`"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			in, err := readInputs(tt.in)
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
		if got, err := readInputs(in); err == nil {
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
		in, err := readInputs(text)
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
	checks := []string{github.DefaultName, "arm64", "plan", "report", "1of2", "a b", "a-b", "a/b", "a*", "ä", strings.Repeat("x", 100)}
	pattern := func(s string) *regexp.Regexp {
		return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(s), regexp.QuoteMeta(number), "[0-9]+") + "$")
	}
	for _, one := range checks {
		n := actionNames{prefix: artifactPrefix(one)}
		for _, other := range checks {
			o := actionNames{prefix: artifactPrefix(other), suffix: "-attempt12", shard: shardChoice{shard: 3, shards: 8}}
			for _, name := range []string{o.shardArtifact(), o.planArtifact(), o.reportArtifact()} {
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
			if pattern(n.shardPattern()).MatchString(o.planArtifact()) || pattern(n.shardPattern()).MatchString(o.reportArtifact()) || pattern(n.planPattern()).MatchString(o.shardArtifact()) {
				t.Errorf("the kinds of %q and %q are not apart", one, other)
			}
		}
	}
	n := actionNames{prefix: artifactPrefix(github.DefaultName), suffix: "-attempt2", shard: shardChoice{shard: 3, shards: 8}}
	if got := n.shardArtifact(); got != "bpf-kernel-check-3of8-attempt2" {
		t.Error(got)
	}
}

func TestFindPlan(t *testing.T) {
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
		got, err := findPlan(dir)
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
		case "RUNNER_TEMP":
			return temp
		case "GITHUB_OUTPUT":
			return filepath.Join(temp, "output")
		}
		return ""
	}
	for _, sub := range []string{"begin-run", "run"} {
		run(t.Context(), []string{"action", sub}, strings.NewReader(""), io.Discard, io.Discard, getenv)
	}
	if !slices.Contains(read, "INPUTS") {
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

// apt is asked again, and for nothing that is there.
func TestInstall(t *testing.T) {
	dir := t.TempDir()
	log := filepath.Join(dir, "log")
	for name, script := range map[string]string{
		"apt-get": `echo "apt-get $*" >>"` + log + `"; [ "$1" = update ] || [ "$(grep -c install "` + log + `")" -ge "$NEEDED" ]`,
		"sudo":    `shift; exec "$@"`,
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	for _, tt := range []struct {
		needed, want string
		packages     []string
		asked        int
	}{
		{"1", "", nil, 0},
		{"1", "", []string{"gpgv"}, 1},
		{"3", "", []string{"gpgv", "dpkg"}, 3},
		{"4", "install gpgv: apt-get: exit status 1: install them on the runner", []string{"gpgv"}, 3},
	} {
		if err := os.WriteFile(log, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		t.Setenv("NEEDED", tt.needed)
		c := &command{stdout: io.Discard, stderr: io.Discard}
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
	kernel := func(i int, v report.Verdict) report.Kernel {
		k := report.Kernel{ID: list[i].ID, Digest: list[i].Digest, Verdict: v, Attempts: 1, Accel: "tcg", Tests: []report.Test{{Name: "a", Verdict: "pass"}}}
		if v != report.Pass {
			k.Cause = &report.Cause{Title: "why"}
		}
		return k
	}
	for name, tt := range map[string]struct {
		kernels  []report.Kernel
		complete bool
		want     string
	}{
		"all":        {[]report.Kernel{kernel(0, report.Pass), kernel(1, report.Pass)}, true, "pass 2 0 0"},
		"no end":     {[]report.Kernel{kernel(0, report.Pass), kernel(1, report.Pass)}, false, "missing 2 0 0"},
		"cut short":  {[]report.Kernel{kernel(0, report.Pass)}, false, "missing 1 0 1"},
		"a failure":  {[]report.Kernel{kernel(0, report.Fail)}, false, "fail 0 1 1"},
		"not tested": {[]report.Kernel{kernel(0, report.Infra), kernel(1, report.Pass)}, true, "missing 1 0 1"},
		"a crash":    {[]report.Kernel{kernel(0, report.Crash), kernel(1, report.Pass)}, true, "fail 1 1 0"},
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
			if err := s.afterRun(dir, false); err != nil {
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
