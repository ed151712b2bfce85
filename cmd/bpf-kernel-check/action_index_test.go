package main

import (
	"bytes"
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image/imagetest"
)

// The default branch's runs keep an index, and others pick by it. Whatever is wrong
// with it, there is a plan.
func TestActionIndex(t *testing.T) {
	const (
		schedule = `{"schedule":"17 2 * * *","repository":{"default_branch":"main"}}`
		noIndex  = "there is no index of kernels yet"
	)
	dir := t.TempDir()
	kernels, temp := filepath.Join(dir, "kernels"), filepath.Join(dir, "temp")
	kept := filepath.Join(temp, "bpf-kernel-check", "index", indexName)
	add := func(version string) {
		imagetest.WriteFile(t, filepath.Join(kernels, "debian/vmlinuz-"+version+"-amd64"), imagetest.Vmlinuz(t, version+"-amd64"))
	}
	add("6.1.1")
	add("6.1.2")
	program := filepath.Join(dir, "program")
	put(t, program, string(imagetest.ELF("6.1.0", false)))
	pick := map[string]string{"pick": "kinds", "test": program, "keep-index": "true"}
	base := filepath.Join(dir, "report.json")
	put(t, base, `{"schema":1,"verdict":"pass","at":"2026-11-12T00:00:00Z","shards":1,"attempt":1,"kernels":[{"id":"debian/6.1.2-amd64","verdict":"pass","attempts":1}]}`)
	for _, tt := range []struct {
		name, event string
		before      func()
		in          map[string]string
		kernels     int    // to boot
		saved       bool   // index
		made        bool   // index, for shards
		all         bool   // the log says that every kernel is booted, for lack of an index
		says        string // the log, besides
	}{
		{name: "no index", event: "pull_request", in: pick, kernels: 1, all: true},
		{name: "a night without", event: "schedule", kernels: 2},
		{name: "a night", event: "schedule", in: map[string]string{"keep-index": "true"}, kernels: 2, saved: true, made: true},
		{name: "a night of the same", event: "schedule", in: map[string]string{"keep-index": "true"}, kernels: 2, made: true},
		{name: "a pull request", event: "pull_request", in: pick, kernels: 1},
		{name: "a new kernel", event: "schedule", before: func() { add("6.1.3") }, in: map[string]string{"keep-index": "true"}, kernels: 3, saved: true, made: true},
		{name: "all at once", event: "push", in: pick, kernels: 1, made: true},
		{name: "broken", event: "pull_request", before: func() { put(t, kept, "broken") }, in: pick, kernels: 1, all: true, says: "index.bki"},
		{name: "made anew", event: "schedule", in: map[string]string{"keep-index": "true"}, kernels: 3, saved: true, made: true},
		{name: "no place for it", event: "schedule", before: func() {
			if err := os.RemoveAll(filepath.Dir(kept)); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Dir(kept), "")
		}, in: map[string]string{"keep-index": "true"}, kernels: 3, says: "the index of kernels is not up to date: mkdir"},
		{name: "no payload", event: "schedule", in: map[string]string{"test": "./none"}, kernels: 3},
		{name: "new ones, without a report", event: "schedule", in: map[string]string{"new": "true"}, kernels: 3, says: "no report of an earlier run yet, so every kernel counts as new"},
		{name: "new ones by the clock", event: "schedule", in: map[string]string{"new": "true", "base": base}, kernels: 2},
		{name: "new ones by hand", event: "workflow_dispatch", in: map[string]string{"new": "true", "base": base}, kernels: 2},
		{name: "new ones of a push", event: "push", in: map[string]string{"new": "true", "base": base}, kernels: 3, says: `the event is "push", and not schedule`},
		{name: "new ones of a pull request", event: "pull_request", in: map[string]string{"new": "true", "base": base}, kernels: 3, says: `the event is "pull_request", and not schedule`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.before != nil {
				tt.before()
			}
			out := t.TempDir()
			in := map[string]string{"kernels": kernels, "arch": "amd64", "shards": "1", "cache": filepath.Join(dir, "cache")}
			maps.Copy(in, tt.in)
			b, err := json.Marshal(in)
			if err != nil {
				t.Fatal(err)
			}
			payload := schedule
			if tt.event == "pull_request" {
				payload = actPull
			}
			put(t, filepath.Join(out, "event.json"), payload)
			env := map[string]string{
				"INPUTS": string(b), "RUNNER_TEMP": temp, "GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "5", "GITHUB_RUN_ATTEMPT": "1", "GITHUB_REPOSITORY": "octo/probe", "GITHUB_SHA": strings.Repeat("a", 40),
				"GITHUB_EVENT_NAME": tt.event, "GITHUB_EVENT_PATH": filepath.Join(out, "event.json"), "GITHUB_REF": "refs/heads/main", "GITHUB_SERVER_URL": "https://github.com", "GITHUB_API_URL": "http://127.0.0.1:9",
			}
			var log bytes.Buffer
			step := func(name string) map[string]string {
				env["GITHUB_OUTPUT"] = filepath.Join(out, name)
				if code := run(t.Context(), []string{"action", name}, strings.NewReader(""), &log, &log, func(k string) string { return env[k] }); code != 0 {
					t.Fatalf("%s: exit code %d\n%s", name, code, &log)
				}
				b, err := os.ReadFile(env["GITHUB_OUTPUT"])
				if err != nil && !os.IsNotExist(err) {
					t.Fatal(err)
				}
				return actionOutputs(string(b))
			}
			begin := step("begin-plan")
			env["INPUTS_FILE"] = begin["inputs"]
			var made map[string]string
			if begin["index-artifact"] != "" {
				made = step("index-plan")
			}
			if (made["index"] == kept) != tt.made || (made["save-key"] != "") != tt.saved {
				t.Errorf("outputs %q\n%s", made, &log)
			}
			if (begin["index-dir"] != "") != (tt.in["pick"] != "" || tt.in["keep-index"] != "") {
				t.Errorf("outputs %q", begin)
			}
			step("plan")
			plan, err := readFile(begin["plan"], report.ReadPlanFile)
			if err != nil {
				t.Fatal(err)
			}
			if len(plan.Kernels) != tt.kernels {
				t.Errorf("boots %d kernels, want %d\n%s", len(plan.Kernels), tt.kernels, &log)
			}
			if said := strings.Contains(log.String(), noIndex); said != tt.all || !strings.Contains(log.String(), tt.says) {
				t.Errorf("%v, want %v and %q in\n%s", said, tt.all, tt.says, &log)
			}
		})
	}
}

// One job that picks takes what nights have kept; a shard takes the index of its
// plan, which has picked.
func TestActionRunPicks(t *testing.T) {
	for in, want := range map[string][]string{
		`{}`:               nil,
		`{"pick":"kinds"}`: {"index-dir", "index-key", "base-dir", "base-key"},
		`{"kernels":"debian:bookworm\n@kernels.txt"}`:       {"index-dir", "index-key", "base-dir", "base-key"},
		`{"pick":"kinds","base":"report.json"}`:             {"index-dir", "index-key"},
		`{"pick":"kinds","index":"x.bki","base":"y"}`:       nil,
		`{"pick":"kinds","shard":"1/2"}`:                    nil,
		`{"pick":"kinds","shard":"1/2","plan":"plan.json"}`: nil,
	} {
		temp := t.TempDir()
		env := map[string]string{"RUNNER_TEMP": temp, "GITHUB_OUTPUT": filepath.Join(temp, "output"), "INPUTS": in}
		if code := run(t.Context(), []string{"action", "begin-run"}, strings.NewReader(""), io.Discard, io.Discard, func(k string) string { return env[k] }); code != 0 {
			t.Fatal(in, code)
		}
		got := actionOutputs(readText(t, env["GITHUB_OUTPUT"]))
		for _, name := range []string{"index-dir", "index-key", "base-dir", "base-key"} {
			if (got[name] != "") != slices.Contains(want, name) {
				t.Errorf("%s: output %s is %q", in, name, got[name])
			}
		}
	}

	var empty bytes.Buffer
	if err := index.Write(&empty, func() (*index.Facts, error) { return nil, io.EOF }); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		shard shardChoice
		files []string // below the action's directory
		in    inputs
		want  inputs // paths below it
	}{
		"a shard":                {shardChoice{1, 2, ""}, []string{"plan/x-plan-attempt1/plan.json", "plan/x-index-attempt1/index.bki", "plan/x-index-attempt2/index.bki"}, inputs{"pick": "kinds", "plan": "p"}, inputs{"plan": "p", "index": "plan/x-index-attempt2/index.bki"}},
		"a shard without":        {shardChoice{1, 2, ""}, []string{"plan/plan.json", "index/index.bki", "base/report.json"}, inputs{"pick": "kinds", "plan": "p"}, inputs{"plan": "p"}},
		"one job":                {shardChoice{}, []string{"index/index.bki", "base/report.json"}, inputs{"pick": "kinds"}, inputs{"pick": "kinds", "index": "index/index.bki", "base": "base/report.json"}},
		"one job without picks":  {shardChoice{}, []string{"base/report.json"}, inputs{}, inputs{}},
		"one job with its index": {shardChoice{}, []string{"index/index.bki"}, inputs{"index": "mine"}, inputs{"index": "mine"}},
	} {
		dir := t.TempDir()
		for _, f := range tt.files {
			if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, f)), 0o755); err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(dir, f), empty.String())
		}
		s := &actionStep{c: &command{stderr: io.Discard}, in: tt.in, names: actionNames{shard: tt.shard, dir: dir}}
		in := maps.Clone(tt.in)
		if err := s.forRun(in); err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(in, func(_, v string) bool { return v == "" })
		for k, v := range in {
			in[k] = strings.TrimPrefix(v, dir+"/")
		}
		if d := cmp.Diff(tt.want, in); d != "" {
			t.Error(name, d)
		}
	}
}
