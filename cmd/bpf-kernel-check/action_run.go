package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

func beginRun(_ context.Context, s *actionStep) error {
	out, err := s.newOut()
	if err != nil {
		return err
	}
	if s.in["resume"] != "true" {
		old := filepath.Join(out, s.shardFile())
		if err := os.Rename(old, old+".old"); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("set the shard file of an earlier use aside: %w", err)
		}
	}
	pairs := []string{"out", out}
	if s.in["artifacts"] != "false" {
		pairs = append(pairs, "artifact", s.names.shardArtifact())
		if s.names.shard.shards > 0 && s.in["plan"] == "" {
			pairs = append(pairs, "plan-pattern", s.names.runPattern(), "plan-dir", s.names.planDir())
		}
	}
	if s.names.shard.shards == 0 {
		pairs = append(pairs, "publish", "true")
		if s.mayPick() {
			pairs = append(pairs, s.kept("index", s.names.indexDir(), s.names.indexKey())...)
			pairs = append(pairs, s.kept("base", s.names.baseDir(), s.names.baseKey())...)
		}
	}
	// The user keeps a cache that the user named.
	if s.in["cache"] == "" {
		pairs = append(pairs, "restore-kernels", "true")
		if s.saves() {
			pairs = append(pairs, "save-kernels", "true")
		}
	}
	return s.set(pairs...)
}

// actionRun boots a shard or the whole list, and leaves how it ended. It has no
// token: it runs QEMU, and reads archives of others.
func actionRun(ctx context.Context, s *actionStep) error {
	s.c.laps = s.startLaps()
	err := s.boot(ctx)
	fmt.Fprintln(s.c.stdout, "bpf-kernel-check:", s.c.laps)
	var exit exitError
	why := ""
	if err != nil && !errors.As(err, &exit) {
		why = err.Error()
		if s.names.shard.shards > 0 { // a shard file that is there may be another run's
			err = errors.Join(err, s.setOutcome(report.RunOutcome(0, nil, true)))
		}
	}
	return errors.Join(err, os.WriteFile(s.ended(), []byte(why), 0o600))
}

// ended is the file that says how booting ended: why there is no result; it is
// empty if there is one.
func (s *actionStep) ended() string { return s.file + ".ended" }

// actionPublish publishes the result of the whole list, or why there is none.
func actionPublish(ctx context.Context, s *actionStep) error {
	out, err := s.out()
	if err != nil {
		return err
	}
	args, err := s.in.args(s.c.publishCommand())
	if err != nil {
		return err
	}
	var before error
	why, err := os.ReadFile(s.ended())
	switch {
	case err != nil:
		before = errors.New("kernels were not booted, or that step was ended early: the steps before this one say why")
	case len(why) > 0:
		before = errors.New(string(why))
	}
	if err := s.publish(ctx, out, args, before); len(why) == 0 {
		return err
	}
	return exitError(report.ExitNotTested) // that step has shown why
}

func (s *actionStep) boot(ctx context.Context) error {
	out, err := s.out()
	if err != nil {
		return err
	}
	in := maps.Clone(s.in)
	in["out"] = out
	own := in["cache"] == ""
	if own {
		in["cache"] = s.names.cacheDir()
	}
	if s.names.shard.shards > 0 && in["plan"] == "" {
		if in["plan"], err = findArtifact(s.names.planDir(), "plan.json"); err != nil {
			return err
		}
	}
	if err := s.forRun(in); err != nil {
		return err
	}
	if why := s.noReuse(own); why != "" && in["reuse"] != "" {
		s.c.warn("input reuse: every kernel is booted: " + why)
		in["reuse"] = ""
	}
	args, err := in.args(s.c.runCommand())
	if err != nil {
		return err
	}
	err = s.c.provide(ctx, in)
	s.c.debugJob(ctx)
	if err != nil {
		return err
	}
	s.c.laps.end("QEMU")
	args = append([]string{"run", "--cache=" + in["cache"]}, args...)
	runErr := s.exec(ctx, s.c, args...)
	return errors.Join(runErr, s.afterRun(out))
}

// noReuse says why results of earlier runs are not reused; "" if they are.
// Whoever can write to the cache decides what passes, so it must be one that no
// other job restores, and pull requests are always booted.
func (s *actionStep) noReuse(ownCache bool) string {
	switch {
	case ownCache:
		return "it goes with the input cache, a directory of a runner of your own"
	case !slices.Contains(trustedEvents, s.env.Event):
		return fmt.Sprintf("the event is %.50q: want push, schedule or workflow_dispatch", s.env.Event)
	}
	return ""
}

func (s *actionStep) setOutcome(o report.Outcome) error {
	var pairs []string
	for _, out := range outcomeOutputs(o) {
		pairs = append(pairs, out.Name, out.Value)
	}
	return s.set(pairs...)
}

func (s *actionStep) shardFile() string {
	return report.Plan{Shard: max(s.names.shard.shard, 1), Shards: max(s.names.shard.shards, 1), Attempt: s.ci.attempt}.ShardFileName()
}

// afterRun sets the outputs of a shard.
func (s *actionStep) afterRun(out string) error {
	if s.names.shard.shards == 0 { // for the whole list, publish does it
		return nil
	}
	name := s.shardFile()
	f, err := readFile(filepath.Join(out, name), report.ReadShardFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // the run said why
	}
	if err != nil {
		return fmt.Errorf("read the shard file %s: %w", name, err)
	}
	return s.setOutcome(f.Outcome())
}

var attemptRE = regexp.MustCompile(`-attempt([0-9]{1,9})$`)

// findArtifact returns the file, such as plan.json, of the latest attempt in a
// directory of downloaded artifacts, or "". A single artifact has no directory of
// its own.
func findArtifact(dir, file string) (string, error) {
	best, bestAttempt := "", -1
	for _, pattern := range []string{file, "*/" + file} {
		paths, err := filepath.Glob(filepath.Join(globEscape(dir), pattern))
		if err != nil {
			return "", err
		}
		for _, p := range paths {
			attempt := 0
			if m := attemptRE.FindStringSubmatch(filepath.Base(filepath.Dir(p))); m != nil {
				attempt, _ = strconv.Atoi(m[1]) // nine digits fit
			}
			if attempt > bestAttempt {
				best, bestAttempt = p, attempt
			}
		}
	}
	return best, nil
}

var globMeta = strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`)

func globEscape(path string) string { return globMeta.Replace(path) }
