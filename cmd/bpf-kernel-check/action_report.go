package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/github"
	"github.com/elastic/bpf-kernel-check/report/page"
)

func beginPlan(_ context.Context, s *actionStep) error {
	if err := os.MkdirAll(s.names.planDir(), 0o755); err != nil {
		return fmt.Errorf("make the plan's directory: %w", err)
	}
	pairs := []string{"artifact", s.names.planArtifact(), "plan", filepath.Join(s.names.planDir(), "plan.json")}
	pick, keep := s.mayPick(), s.in["keep-index"] == "true" && s.saves()
	if s.in["timings"] == "" || (pick || s.in["new"] == "true") && s.in["base"] == "" {
		pairs = append(pairs, "base-dir", s.names.baseDir(), "base-key", s.names.baseKey())
	}
	if keep || pick && s.in["index"] == "" {
		pairs = append(pairs, "index-dir", s.names.indexDir(), "index-key", s.names.indexKey())
	}
	if keep {
		pairs = append(pairs, "index-artifact", s.names.indexArtifact())
	}
	if s.in["pending"] == "true" {
		pairs = append(pairs, "pending", "true")
	}
	return s.set(pairs...)
}

// actionPlan pins the list. Its outputs are the job matrix and its counts.
func actionPlan(ctx context.Context, s *actionStep) error {
	in := maps.Clone(s.in)
	in["out"] = filepath.Join(s.names.planDir(), "plan.json")
	in["json"] = "true"
	in.setFile("timings", filepath.Join(s.names.baseDir(), report.TimingsName))
	indexed, err := s.forPlan(in)
	if err != nil {
		return fmt.Errorf("make an index of no kernels: %w", err)
	}
	if !indexed && in["pick"] != "" {
		s.notice("there is no index of kernels yet, and kernels whose kind it would tell are booted: the default branch's next run with keep-index makes one")
	}
	if in["new"] == "true" {
		if why := s.allNew(in); why != "" {
			s.notice(why + ", so every kernel counts as new")
			delete(in, "new")
		}
	}
	args, err := in.args(s.c.planCommand())
	if err != nil {
		return err
	}
	if err := s.c.install(ctx, missingSources(in)); err != nil {
		return err
	}
	args = append([]string{"plan"}, args...)
	if dir := in["cache"]; dir != "" {
		args = append(args, "--cache="+dir)
	}
	var matrix bytes.Buffer
	c := *s.c
	c.stdout = &matrix
	if err := s.exec(ctx, &c, args...); err != nil {
		return err
	}
	var m struct {
		Include []matrixJob `json:"include"`
	}
	if err := json.Unmarshal(matrix.Bytes(), &m); err != nil {
		return fmt.Errorf("read the matrix: %w", err)
	}
	kernels, idle := 0, 0
	for _, j := range m.Include {
		kernels += j.Kernels
		if j.Kernels == 0 {
			idle++
		}
	}
	if idle > 0 {
		s.notice(fmt.Sprintf("%d of %s will start for nothing: there are only %s; fewer shards would do", idle, count(len(m.Include), "job"), count(kernels, "kernel")))
	}
	return s.set("matrix", strings.TrimSpace(matrix.String()), "shards", strconv.Itoa(len(m.Include)), "kernels", strconv.Itoa(kernels))
}

// allNew says why all kernels are to be tested though only new ones are asked for; ""
// if they are not.
func (s *actionStep) allNew(in inputs) string {
	switch {
	case s.env.Event != "schedule" && s.env.Event != "workflow_dispatch":
		// Else what a pull request changes would be tested on next to no kernel.
		return fmt.Sprintf("the event is %.50q, and not schedule or workflow_dispatch", s.env.Event)
	case in["base"] == "":
		return "there is no report of an earlier run yet"
	}
	return ""
}

// actionPending sets the commit status, in a step of its own: to plan, payloads are
// read and even built, for which there is no need of a token.
func actionPending(ctx context.Context, s *actionStep) error {
	args := []string{"publish", "--pending"}
	if name := s.in["name"]; name != "" {
		args = append(args, "--name="+name)
	}
	return s.exec(ctx, s.c, args...)
}

func beginReport(_ context.Context, s *actionStep) error {
	out, err := s.newOut()
	if err != nil {
		return err
	}
	return s.set("out", out, "artifact", s.names.reportArtifact(),
		"shard-pattern", s.names.shardPattern(), "artifacts-dir", s.names.artifactsDir(),
		"plan-pattern", s.names.planPattern(), "plan-dir", s.names.planDir(),
		"base-dir", s.names.baseDir(), "base-key", s.names.baseKey())
}

// actionReport merges the shards' results and publishes, even if the merge failed.
func actionReport(ctx context.Context, s *actionStep) error {
	in := maps.Clone(s.in)
	var err error
	if in["out"], err = s.out(); err != nil {
		return err
	}
	if in["plan"] == "" {
		if in["plan"], err = findArtifact(s.names.planDir(), "plan.json"); err != nil {
			return err
		}
	}
	in.setFile("base", s.base())
	in.setFile("history", s.names.historyDir())
	args, err := in.args(s.c.mergeCommand())
	if err != nil {
		return err
	}
	pub, err := in.args(s.c.publishCommand())
	if err != nil {
		return err
	}
	// If no shard left anything, merge says so and names the kernels.
	if err := os.MkdirAll(s.names.artifactsDir(), 0o755); err != nil {
		return fmt.Errorf("make the directory of the artifacts: %w", err)
	}
	if entries, err := os.ReadDir(s.names.artifactsDir()); err != nil {
		return fmt.Errorf("look for the shards: %w", err)
	} else if len(entries) == 0 {
		s.notice(fmt.Sprintf("there is no artifact %s-<i>of<n>-attempt<a>: do the jobs that boot kernels run before this one, give the input shard, and have the same name (%s)?",
			s.names.prefix, cmp.Or(in["name"], github.DefaultName)))
	}
	err = s.exec(ctx, s.c, append([]string{"merge", s.names.artifactsDir()}, args...)...)
	err = s.publish(ctx, in["out"], pub, err)
	if s.saves() {
		if err := s.leaveBase(in["out"]); err != nil {
			s.c.warn(err.Error())
		}
	}
	return err
}

// earlierName is the report before that of ReportName.
const earlierName = "earlier.json"

// base is the report to compare with, which no attempt of this run has left: it
// would compare a commit with itself.
func (s *actionStep) base() string {
	name := report.ReportName
	if s.own() {
		name = earlierName
	}
	return filepath.Join(s.names.baseDir(), name)
}

// own says whether the report that is kept is an attempt's of this run.
func (s *actionStep) own() bool {
	m, err := readFile(filepath.Join(s.names.baseDir(), report.ReportName), report.ReadReport)
	return err == nil && m.RunID != "" && m.RunID == cmp.Or(s.in["run-id"], s.ci.id)
}

// leaveBase keeps the report and the timings for later runs. They are compared with
// the earlier report as long as a BPF program has grown by too much since.
func (s *actionStep) leaveBase(out string) error {
	dir := s.names.baseDir()
	m, err := readFile(filepath.Join(out, report.ReportName), report.ReadReport)
	if err == nil {
		err = os.MkdirAll(dir, 0o755)
	}
	names := []string{report.TimingsName}
	if err == nil && len(m.Change.TooCostly()) == 0 {
		names = append(names, report.ReportName)
		if kept := filepath.Join(dir, report.ReportName); exists(kept) && !s.own() {
			err = os.Rename(kept, filepath.Join(dir, earlierName))
		}
	}
	for _, name := range names {
		var b []byte
		if err == nil {
			b, err = os.ReadFile(filepath.Join(out, name))
		}
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), b, 0o644)
		}
	}
	if err == nil {
		err = leaveHistory(s.names.historyDir(), m)
	}
	if err != nil {
		return fmt.Errorf("keep the report for later runs: %w", err)
	}
	return s.set("base-save-key", fmt.Sprintf("%s%s%s", s.names.baseKey(), s.ci.id, s.names.suffix))
}

// leaveHistory adds a report without its texts to those of earlier runs, and
// removes the oldest ones that a page would not show.
func leaveHistory(dir string, m *report.Merged) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var b bytes.Buffer
	if err := report.WriteReport(&b, page.Slim(m)); err != nil {
		return err
	}
	// The name sorts by date. It does not use the run's id, which is hostile.
	name := m.At.UTC().Format("20060102T150405Z") + ".json"
	if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir) // sorted
	if err != nil {
		return err
	}
	for _, e := range entries[:max(0, len(entries)-page.MaxRuns)] {
		if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
