package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func env(m map[string]string) func(string) string { return func(k string) string { return m[k] } }

var (
	shaA = strings.Repeat("a", 40)
	shaB = strings.Repeat("b", 40)
	shaC = strings.Repeat("0c", 32)
)

func TestDetectCI(t *testing.T) {
	event := func(s string) string {
		path := filepath.Join(t.TempDir(), "event.json")
		if err := os.WriteFile(path, []byte(s), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	github := func(path string) map[string]string {
		return map[string]string{"GITHUB_RUN_ID": "77", "GITHUB_RUN_ATTEMPT": "3", "GITHUB_SHA": shaA, "GITHUB_EVENT_PATH": path}
	}
	tests := []struct {
		name string
		env  map[string]string
		want ciRun
		warn string
	}{
		{"a laptop", nil, ciRun{attempt: 1}, ""},
		{"a push on GitHub", github(event(`{"after":"x"}`)), ciRun{"77", 3, shaA}, ""},
		{"a pull request on GitHub", github(event(`{"pull_request":{"head":{"sha":"` + shaB + `"}}}`)), ciRun{"77", 3, shaB}, ""},
		{"an event that is gone", github("/nowhere/event.json"), ciRun{"77", 3, shaA}, "GITHUB_EVENT_PATH: open /nowhere/event.json: no such file"},
		{"an event that is no JSON", github(event("{")), ciRun{"77", 3, shaA}, "the event is no JSON"},
		{"a head that is no commit", github(event(`{"pull_request":{"head":{"sha":"main"}}}`)), ciRun{"77", 3, shaA}, "is no commit"},
		{"an attempt that is none", map[string]string{"GITHUB_RUN_ID": "7", "GITHUB_RUN_ATTEMPT": "0"}, ciRun{"7", 1, ""}, `GITHUB_RUN_ATTEMPT="0" is no attempt's number: want 1 to 1000000`},
		{"an id that is none", map[string]string{"GITHUB_RUN_ID": "7\n::x"}, ciRun{"", 1, ""}, "is no run's id"},
		{"GitLab", map[string]string{"CI_PIPELINE_ID": "12", "CI_COMMIT_SHA": shaA}, ciRun{"12", 1, shaA}, ""},
		{"a merge request on GitLab", map[string]string{"CI_PIPELINE_ID": "12", "CI_COMMIT_SHA": shaA, "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": shaC}, ciRun{"12", 1, shaC}, ""},
		{"Buildkite", map[string]string{"BUILDKITE_BUILD_ID": "0190-ab", "BUILDKITE_COMMIT": shaA, "BUILDKITE_RETRY_COUNT": "0"}, ciRun{"0190-ab", 1, shaA}, ""},
		{"a retry on Buildkite, of a branch's head", map[string]string{"BUILDKITE_BUILD_ID": "0190-ab", "BUILDKITE_COMMIT": "HEAD", "BUILDKITE_RETRY_COUNT": "2"}, ciRun{"0190-ab", 3, ""}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var warned []string
			got := detectCI(env(tt.env), func(s string) { warned = append(warned, s) })
			if d := cmp.Diff(tt.want, got, cmp.AllowUnexported(ciRun{})); d != "" {
				t.Errorf("-want +got:\n%s", d)
			}
			all := strings.Join(warned, "\n")
			if (tt.warn == "") != (all == "") || !strings.Contains(all, tt.warn) {
				t.Errorf("warned %q, want %q", all, tt.warn)
			}
		})
	}
}

func TestChooseShard(t *testing.T) {
	gitlab := func(i, n string) map[string]string {
		return map[string]string{"CI_NODE_INDEX": i, "CI_NODE_TOTAL": n}
	}
	buildkite := func(i, n string) map[string]string {
		return map[string]string{"BUILDKITE_PARALLEL_JOB": i, "BUILDKITE_PARALLEL_JOB_COUNT": n}
	}
	tests := []struct {
		flag string
		env  map[string]string
		want string // "", i/n, or the error
	}{
		{"", nil, "0/0"},
		{"2/8", nil, "2/8"},
		{"8/8", gitlab("1", "2"), "8/8"},
		{"", gitlab("3", "3"), "3/3"},
		{"", gitlab("", "1"), "0/0"},
		{"", buildkite("0", "3"), "1/3"},
		{"", buildkite("2", "3"), "3/3"},
		{"3/2", nil, `--shard: "3" is not one of 2 shards: want 1 to 2`},
		{"0/3", nil, `--shard: "0" is not one of 3 shards: want 1 to 3`},
		{"-1/3", nil, `--shard: "-1" is not one of 3 shards: want 1 to 3`},
		{"a/b", nil, `--shard: "b" is no number of shards: want 1 to 4096`},
		{"1/0", nil, `--shard: "0" is no number of shards: want 1 to 4096`},
		{"1/4097", nil, `--shard: "4097" is no number of shards: want 1 to 4096`},
		{"1/2/3", nil, `--shard: "2/3" is no number of shards: want 1 to 4096`},
		{"3", nil, `--shard is "3": want i/n, such as 2/8`},
		{"", gitlab("0", "3"), `CI_NODE_INDEX and CI_NODE_TOTAL: "0" is not one of 3 shards: want 1 to 3`},
		{"", gitlab("4", "3"), `CI_NODE_INDEX and CI_NODE_TOTAL: "4" is not one of 3 shards: want 1 to 3`},
		{"", gitlab("", "3"), `CI_NODE_INDEX and CI_NODE_TOTAL: "" is not one of 3 shards: want 1 to 3`},
		{"", gitlab("1", ""), `CI_NODE_INDEX and CI_NODE_TOTAL: "" is no number of shards: want 1 to 4096`},
		{"", buildkite("3", "3"), `BUILDKITE_PARALLEL_JOB and BUILDKITE_PARALLEL_JOB_COUNT: "3" is not one of 3 shards: want 0 to 2`},
		{"", buildkite("x", "3"), `BUILDKITE_PARALLEL_JOB and BUILDKITE_PARALLEL_JOB_COUNT: "x" is not one of 3 shards: want 0 to 2`},
	}
	for _, tt := range tests {
		choice, err := chooseShard(tt.flag, env(tt.env))
		got := choice.String()
		if err != nil {
			got = err.Error()
		}
		if got != tt.want {
			t.Errorf("--shard %q, %v: %s, want %s", tt.flag, tt.env, got, tt.want)
		}
	}
}
