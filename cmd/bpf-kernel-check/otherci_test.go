package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The examples for GitLab and Buildkite, run as these systems do: each job in
// a directory of its own, its variables in, its artifacts out. The kernels are
// none, so that no VM is booted and every result is there, as INFRA.
func TestOtherCI(t *testing.T) {
	t.Parallel()
	bin, err := exec.LookPath("bpf-kernel-check") // put there by testscript.Main
	if err != nil {
		t.Fatal(err)
	}
	goDirs := goDirectories(t)
	idle, probe := idleQEMU(t), filepath.Join(t.TempDir(), "probe.test")
	build := exec.Command("go", "build", "-o", probe, "./.github/example/guest")
	build.Dir, build.Env = repository, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for name, tt := range map[string]struct {
		file           string
		script, report func(*yaml.Node) []string
		artifacts      func(*yaml.Node) string
		env            func(i, n int) []string
	}{
		"gitlab": {
			file:   "gitlab-ci.yml",
			script: func(n *yaml.Node) []string { return lines(get(n, "kernels", "script")) },
			report: func(n *yaml.Node) []string { return lines(get(n, "report", "script")) },
			artifacts: func(n *yaml.Node) string {
				if text(get(n, "kernels", "artifacts", "when")) != "always" || text(get(n, "report", "when")) != "always" {
					t.Error("results of jobs that fail are lost")
				}
				return lines(get(n, "kernels", "artifacts", "paths"))[0]
			},
			env: func(i, n int) []string {
				return []string{"CI_PIPELINE_ID=77", fmt.Sprintf("CI_NODE_INDEX=%d", i+1), fmt.Sprintf("CI_NODE_TOTAL=%d", n)}
			},
		},
		"buildkite": {
			file:   "buildkite.yml",
			script: func(n *yaml.Node) []string { return lines(get(get(n, "steps").Content[0], "commands")) },
			report: func(n *yaml.Node) []string { return lines(get(get(n, "steps").Content[1], "commands")) },
			artifacts: func(n *yaml.Node) string {
				return strings.TrimSuffix(text(get(get(n, "steps").Content[0], "artifact_paths")), "/**/*")
			},
			env: func(i, n int) []string {
				return []string{"BUILDKITE_BUILD_ID=b-77", fmt.Sprintf("BUILDKITE_PARALLEL_JOB=%d", i), fmt.Sprintf("BUILDKITE_PARALLEL_JOB_COUNT=%d", n)}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := os.ReadFile(filepath.Join(repository, ".github/example", tt.file))
			if err != nil {
				t.Fatal(err)
			}
			w, err := readWorkflow(tt.file, b)
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			kernels := filepath.Join(dir, "kernels", "debian")
			if err := os.MkdirAll(kernels, 0o755); err != nil {
				t.Fatal(err)
			}
			for i := range 5 {
				if err := os.WriteFile(filepath.Join(kernels, fmt.Sprintf("6.1.%d__x.tar.gz", i)), []byte("none "+fmt.Sprint(i)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			agent := filepath.Join(dir, "agent")
			if err := os.Mkdir(agent, 0o755); err != nil {
				t.Fatal(err)
			}
			// Artifacts are where the report looks for them already.
			if err := os.WriteFile(filepath.Join(agent, "buildkite-agent"), []byte("#!/bin/sh\n[ \"$1 $2\" = 'artifact download' ]\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			run := func(work string, script, env []string) int {
				t.Helper()
				cmd := exec.Command("sh", "-ec", strings.Join(script, "\n"))
				cmd.Dir = work
				cmd.Env = append([]string{
					"PATH=" + agent + ":" + idle + ":" + filepath.Dir(bin) + ":" + os.Getenv("PATH"), "HOME=" + dir, "KERNELS=" + filepath.Dir(kernels),
				}, slices.Concat(goDirs, env)...)
				out, err := cmd.CombinedOutput()
				t.Logf("%s\n%s", strings.Join(script, "\n"), out)
				var exit *exec.ExitError
				if err != nil && !errors.As(err, &exit) {
					t.Fatal(err)
				}
				return cmd.ProcessState.ExitCode()
			}
			merged := filepath.Join(dir, "report")
			if err := os.Mkdir(merged, 0o755); err != nil {
				t.Fatal(err)
			}
			const shards = 3
			if got := text(get(w.root, "kernels", "parallel")) + text(get(first(get(w.root, "steps")), "parallelism")); got != fmt.Sprint(shards) {
				t.Errorf("%s jobs in parallel, want %d", got, shards)
			}
			for i := range shards {
				work := filepath.Join(dir, fmt.Sprintf("job%d", i))
				if err := os.Mkdir(work, 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.Link(probe, filepath.Join(work, "probe.test")); err != nil {
					t.Fatal(err)
				}
				if code := run(work, tt.script(w.root), tt.env(i, shards)); code != 3 {
					t.Errorf("job %d: exit code %d, want 3: no kernel could be tested", i, code)
				}
				copyTree(t, filepath.Join(work, tt.artifacts(w.root)), filepath.Join(merged, tt.artifacts(w.root)))
			}
			if code := run(merged, tt.report(w.root), nil); code != 3 {
				t.Errorf("report: exit code %d, want 3", code)
			}
			summary, err := os.ReadFile(filepath.Join(merged, "report/bpf-check-summary.txt"))
			if err != nil || strings.Count(string(summary), "[INFRA]") != 5 || strings.Contains(string(summary), "[MISSING]") {
				t.Errorf("%v\n%s", err, summary)
			}
			if !exists(filepath.Join(merged, "report/junit.xml")) {
				t.Error("no junit.xml")
			}
		})
	}
}

func first(n *yaml.Node) *yaml.Node {
	if n == nil || len(n.Content) == 0 {
		return nil
	}
	return n.Content[0]
}

// lines are the texts of a list.
func lines(n *yaml.Node) (all []string) {
	for _, c := range n.Content {
		all = append(all, c.Value)
	}
	return all
}

// copyTree unpacks artifacts over those of other jobs.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o755)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
}
