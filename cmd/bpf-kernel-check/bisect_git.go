package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/bisect"
	"github.com/elastic/bpf-kernel-check/shard/child"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/build"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// What git bisect run takes an exit status for, besides 0 and 1.
const (
	gitSkip = 125
	gitStop = 128
)

// treeBisection bisects commits of a git repository. It only reads from it.
type treeBisection struct {
	*bisection
	tree    string
	builder *build.Builder
	arch    string
}

// bisectTree bisects a repository, or without ends tests it as it stands.
func (c *command) bisectTree(ctx context.Context, o *bisectOptions, args []string) error {
	err := c.runTree(ctx, o, args)
	if err == nil || o.good != "" && o.bad != "" {
		return err
	}
	var exit exitError
	switch {
	case !errors.As(err, &exit): // git would take 2 and 3 for bad
		return statusError{gitStop, err}
	case exit == report.ExitNotTested:
		return statusError{gitSkip, nil}
	}
	return err
}

func (c *command) runTree(ctx context.Context, o *bisectOptions, args []string) error {
	switch {
	case len(args)+len(o.src.kernels)+len(o.src.buckets) > 0 || o.src.mainline != "":
		return usagef("--src and --kernels exclude each other: give one of them")
	case (o.good == "") != (o.bad == ""):
		return usagef("--src goes with both --good and --bad, or with neither to test the tree as it stands")
	}
	if _, err := build.GitDir(o.tree); err != nil {
		return usagef("--src %s is no git repository: want one of Linux", o.tree)
	}
	accel, err := c.checkRun(&o.run, o.payload)
	if err != nil {
		return err
	}
	ctx, cancel := o.run.limits.within(ctx, o.run.started)
	defer cancel()
	payload, err := c.readPayload(ctx, o.payload, o.run.arch, o.run.limits.payload)
	if err != nil {
		return cmp.Or(c.timeUp(ctx, err), err)
	}
	t := &treeBisection{bisection: c.newBisection(o), tree: o.tree, arch: cmp.Or(payload.arch, runtime.GOARCH)}
	builder, remove, err := c.builder(ctx, &buildOptions{
		sources: []string{o.tree}, arch: t.arch, jobs: o.run.jobs, make: o.make, out: filepath.Join(t.out, "linux.tar"),
	})
	if err != nil {
		return err
	}
	defer remove()
	t.builder = builder
	commits, err := t.commits(ctx, o.good, o.bad)
	if err != nil {
		return err
	}
	var list plan.Plan
	for _, commit := range commits {
		e, err := t.build(ctx, commit)
		if err != nil {
			return cmp.Or(c.timeUp(ctx, err), err)
		}
		if e == nil {
			fmt.Fprintf(c.stderr, "bpf-kernel-check: %s cannot be built, and so is not tested\n", commit)
			return exitError(report.ExitNotTested)
		}
		list.Entries = append(list.Entries, *e)
	}
	if len(commits) == 2 {
		o.run.bisect = t.run(func(ctx context.Context) error {
			return t.search(ctx, commits[0], commits[1], list.Entries)
		})
	}
	return c.test(ctx, o.run, accel, payload, list)
}

// git returns what git prints, without the last line's end.
func (t *treeBisection) git(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", t.tree}, args...)...)
	cmd.Env = append(child.Environ(), "LC_ALL=C",
		// Of who makes the commit of the tree as it stands.
		"GIT_AUTHOR_NAME=bpf-kernel-check", "GIT_AUTHOR_EMAIL=none", "GIT_COMMITTER_NAME=bpf-kernel-check", "GIT_COMMITTER_EMAIL=none")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := child.Output(cmd)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, bounded.OneLine(stderr.String()))
	}
	return strings.TrimRight(string(out), "\n"), nil
}

// commits are the ids of a good and a bad commit; without, that of one with what
// the work tree has in files that git knows. That changes neither the tree nor a
// branch.
func (t *treeBisection) commits(ctx context.Context, good, bad string) ([]string, error) {
	if good == "" {
		id, err := t.git(ctx, "stash", "create")
		if err == nil && id == "" { // nothing was changed
			id, err = t.git(ctx, "rev-parse", "HEAD")
		}
		if err != nil {
			return nil, usagef("--src %s: %w", t.tree, err)
		}
		return []string{id}, nil
	}
	var ids []string
	for _, rev := range []string{good, bad} {
		id, err := t.git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", rev+"^{commit}")
		if err != nil {
			return nil, usagef("--src %s: %q is no commit there", t.tree, rev)
		}
		ids = append(ids, id)
	}
	if _, err := t.git(ctx, "merge-base", "--is-ancestor", ids[0], ids[1]); err != nil || ids[0] == ids[1] {
		return nil, usagef("--good %s is no ancestor of --bad %s: want two commits of which the bad one comes after the good one", good, bad)
	}
	return ids, nil
}

// build builds a commit, or finds it in the cache. It is nil for one that cannot be
// built.
func (t *treeBisection) build(ctx context.Context, commit string) (*plan.Entry, error) {
	t.builder.Refs = []string{commit}
	built, _, err := t.builder.Run(ctx)
	if err != nil || len(built) == 0 {
		return nil, err
	}
	file := filepath.Join(t.out, "linux-"+built[0].Name+".tar")
	if err := build.WriteArchive(file, t.builder.Recipes[0].Arch, built); err != nil {
		return nil, err
	}
	srcs, err := t.sources([]string{file}, t.arch)
	if err != nil {
		return nil, err
	}
	list, err := plan.Select(ctx, srcs, plan.Filter{Arch: t.arch})
	if err != nil {
		return nil, err
	}
	return &list.Entries[0], nil
}

// search tests the ends, and then commits between them.
func (t *treeBisection) search(ctx context.Context, good, bad string, ends []plan.Entry) error {
	for i, given := range []struct {
		flag string
		is   bisect.Outcome
	}{{"--good", bisect.Good}, {"--bad", bisect.Bad}} {
		o, err := t.boot(ctx, ends[i])
		if err != nil {
			return err
		}
		if o != given.is {
			t.tellNotAsGiven(given.flag, ends[i].ID())
			return exitError(report.ExitNotTested)
		}
	}
	broken := ends[1]
	known := []string{"^" + good} // what they lead to is bad, and not good
	skipped := map[string]bool{}
	for {
		between, err := t.between(ctx, bad, known)
		if err != nil {
			return err
		}
		left := slices.DeleteFunc(slices.Clone(between), func(id string) bool { return skipped[id] })
		switch {
		case len(between) == 0:
			return t.found(ctx, bad, broken)
		case len(left) == 0:
			t.say("\nnot found: the %d commits before %s, which fails, could not be built or tested", len(between), bad)
			return exitError(report.ExitNotTested)
		case t.maxBoots > 0 && len(t.booted) >= t.maxBoots:
			t.say("\nnot found: --max-boots ends the search with %s, which fails, and the %d commits before it", bad, len(between))
			return exitError(report.ExitNotTested)
		}
		// Neighbours of what cannot be built often cannot either.
		skips := len(between) - len(left)
		commit := left[min(skips*skips, len(left)-1)]
		t.say("\n%s left", count(len(left), "commit"))
		o := bisect.Skipped
		e, err := t.build(ctx, commit)
		if err == nil && e != nil {
			o, err = t.boot(ctx, *e)
		}
		if err != nil {
			return err
		}
		switch o {
		case bisect.Good:
			known = append(known, "^"+commit)
		case bisect.Bad:
			bad, broken = commit, *e
		default:
			skipped[commit] = true
		}
	}
}

// between are the commits that may be the first bad one instead of bad, first the
// one that halves them best.
func (t *treeBisection) between(ctx context.Context, bad string, known []string) (ids []string, err error) {
	out, err := t.git(ctx, append([]string{"rev-list", "--bisect-all", bad}, known...)...)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(out) {
		if id, _, _ := strings.Cut(line, " "); id != bad {
			ids = append(ids, id)
		}
	}
	return ids, nil
}

// found prints the commit, how it fails, and how to see that.
func (t *treeBisection) found(ctx context.Context, commit string, e plan.Entry) error {
	text, err := t.git(ctx, "log", "-1", "--no-color", "--stat", "--stat-count=20", commit)
	if err != nil {
		return err
	}
	t.say("\n%s is the first bad commit (%s)\n%s\n", commit, count(len(t.booted), "boot"), report.Text(text[:min(len(text), 10_000)]))
	t.tellFailures(func(string) bool { return true }, e.ID())
	t.tellCommands(e)
	return nil
}
