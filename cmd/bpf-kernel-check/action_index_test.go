package main

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/elastic/bpf-kernel-check/report"
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
		{name: "no payload", event: "schedule", in: map[string]string{"test": "./none"}, kernels: 3},
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
			if (begin["index-dir"] != "") != (tt.made || tt.in["pick"] != "") {
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
