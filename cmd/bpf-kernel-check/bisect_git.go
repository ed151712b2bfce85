package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/screen"
	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/bisect"
	"github.com/elastic/bpf-kernel-check/shard/child"
	"github.com/elastic/bpf-kernel-check/shard/host"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
	"github.com/elastic/bpf-kernel-check/shard/kernel/build"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// What git bisect run takes an exit status for, besides 0 and 1.
const (
	gitSkip = 125
	gitStop = 128
)

// treeBisection bisects the commits of a git repository. git chooses them, in a
// work tree without files that nobody else uses.
type treeBisection struct {
	*bisection
	dir     string // the repository
	builder build.Builder
	kernels string // directory of the images, below --out
	arch    string
	maximum int // kernels to boot; 0: as many as it takes
}

// bisectTree bisects a repository, or without ends tests it as it stands.
func (c *command) bisectTree(ctx context.Context, o *bisectOptions, args []string) error {
	if o.good != "" && o.bad != "" {
		return c.runTree(ctx, o, args)
	}
	err := c.runTree(ctx, o, args)
	var exit exitError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &exit): // of which git knows nothing
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
	ctx, cancel := o.run.limits.within(ctx, o.run.started)
	defer cancel()
	accel, payload, err := c.prepareBisect(ctx, o)
	if err != nil {
		return cmp.Or(c.timeUp(ctx, err), err)
	}
	t, remove, err := c.newTreeBisection(ctx, o, cmp.Or(payload.arch, runtime.GOARCH))
	if err != nil {
		return err
	}
	defer remove()
	var commits []string
	if o.good == "" {
		commit, err := t.asItStands(ctx)
		if err != nil {
			return err
		}
		commits = []string{commit}
	} else {
		for _, rev := range []string{o.good, o.bad} {
			commit, err := t.git(ctx, t.dir, "rev-parse", "--verify", "--quiet", "--end-of-options", rev+"^{commit}")
			if err != nil {
				return usagef("--src %s: %q is no commit there", o.tree, rev)
			}
			commits = append(commits, commit)
		}
	}
	var list plan.Plan
	for _, commit := range commits {
		e, err := t.build(ctx, commit)
		if err != nil {
			return cmp.Or(c.timeUp(ctx, err), err)
		}
		if e == nil {
			fmt.Fprintf(c.stderr, "bpf-kernel-check: %s cannot be built, and so is not tested\n", commit[:12])
			return exitError(report.ExitNotTested)
		}
		list.Entries = append(list.Entries, *e)
	}
	o.run.bisect = func(ctx context.Context, r *shard.Runner, ui *screen.Progress) error {
		t.runner, t.ui = r, ui
		started := time.Now()
		err := t.bisect(ctx, commits, list.Entries)
		if len(t.results) > 0 {
			if rerr := t.report(started); rerr != nil && err == nil {
				err = rerr
			}
		}
		return err
	}
	return c.test(ctx, o.run, accel, payload, list)
}

func (c *command) newTreeBisection(ctx context.Context, o *bisectOptions, archName string) (*treeBisection, func(), error) {
	arch, err := build.LookupArch(archName)
	if err != nil {
		return nil, nil, usageError{err}
	}
	for _, kv := range o.make {
		if !makeVariable.MatchString(kv) {
			return nil, nil, usagef("--make %q: want VAR=VALUE", kv)
		}
	}
	out, err := outDir(o.run.out)
	if err != nil {
		return nil, nil, err
	}
	cache, err := c.openCache()
	if err != nil {
		return nil, nil, err
	}
	t := &treeBisection{
		bisection: &bisection{command: c, lines: []kernelLine{{}}, results: map[string]report.Result{}},
		dir:       o.tree, arch: archName, maximum: o.maxBoots, kernels: filepath.Join(out, "linux"),
		builder: build.Builder{
			Sources: []string{o.tree}, Recipe: build.Mainline(arch), Make: o.make, Jobs: o.run.jobs,
			Cache: cache.Dir(), Logs: filepath.Join(out, "linux-logs"), Now: time.Now, Report: c.buildEvent,
		},
	}
	if err := t.builder.CheckSources(); err != nil {
		return nil, nil, usageError{err}
	}
	if st, err := os.Stat(o.tree); err != nil || !st.IsDir() {
		return nil, nil, usagef("--src %q: want the directory of a git repository of the kernel", o.tree)
	}
	if err := t.builder.CheckTools(ctx); err != nil {
		return nil, nil, err
	}
	parent := filepath.Join(cache.Dir(), "build")
	if err := errors.Join(os.MkdirAll(parent, 0o755), os.MkdirAll(t.kernels, 0o755)); err != nil {
		return nil, nil, fmt.Errorf("make a directory to build in: %w", err)
	}
	scratch, remove, err := host.MakeScratch(parent)
	t.builder.Scratch = scratch
	return t, remove, err
}

// git runs git in a directory and returns what it prints, without a line's end.
func (t *treeBisection) git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", append([]string{"-C", dir}, args...)...)
	cmd.Env = append(child.Environ(), "LC_ALL=C",
		// Of who makes the commit of the tree as it stands.
		"GIT_AUTHOR_NAME=bpf-kernel-check", "GIT_AUTHOR_EMAIL=none", "GIT_COMMITTER_NAME=bpf-kernel-check", "GIT_COMMITTER_EMAIL=none")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	child.Group(cmd)
	out, err := child.Output(cmd)
	if ctx.Err() != nil {
		return "", context.Cause(ctx)
	}
	text := strings.TrimRight(string(out), "\n")
	if err != nil {
		return text, fmt.Errorf("git %s: %w: %s", args[0], err, bounded.OneLine(stderr.String()))
	}
	return text, nil
}

// asItStands is a commit of what the work tree has, of files that git knows. It
// changes neither the tree nor a branch.
func (t *treeBisection) asItStands(ctx context.Context) (string, error) {
	changed, err := t.git(ctx, t.dir, "stash", "create")
	if err == nil && changed == "" {
		changed, err = t.git(ctx, t.dir, "rev-parse", "HEAD")
	}
	if err != nil {
		return "", usagef("--src %s: %w", t.dir, err)
	}
	return changed, nil
}

// build builds a commit, or finds it in the cache. It is nil for one that cannot be
// built.
func (t *treeBisection) build(ctx context.Context, commit string) (*plan.Entry, error) {
	t.builder.Commit = commit
	built, _, err := t.builder.Run(ctx)
	if err != nil || len(built) == 0 {
		return nil, err
	}
	k := built[0]
	name := kernel.SafeName(k.Release + "-g" + commit[:12])
	image := filepath.Join(t.kernels, t.builder.Recipe.Arch.File+name)
	for from, to := range map[string]string{k.Image: image, k.Config: filepath.Join(t.kernels, "config-"+name)} {
		b, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(to, b, 0o644)
		}
		if err != nil {
			return nil, fmt.Errorf("keep the kernel of %s: %w", commit[:12], err)
		}
	}
	srcs, err := t.sources([]string{relative(image)}, t.arch)
	if err != nil {
		return nil, err
	}
	list, err := plan.Select(ctx, srcs, plan.Filter{Arch: t.arch, MinRelease: ""})
	if err != nil {
		return nil, err
	}
	return &list.Entries[0], nil
}

// relative is a path below the working directory as people write it there.
func relative(path string) string {
	if dir, err := os.Getwd(); err == nil {
		if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
			return "./" + rel
		}
	}
	return path
}

// try boots a built kernel.
func (t *treeBisection) try(ctx context.Context, e plan.Entry) (bisect.Outcome, error) {
	l := &t.lines[0]
	if !slices.ContainsFunc(l.entries, func(x plan.Entry) bool { return x.ID() == e.ID() }) {
		l.entries = append(l.entries, e)
	}
	if err := t.boot(ctx, []plan.Entry{e}); err != nil {
		return bisect.Unknown, err
	}
	return outcomeOf(t.results[e.ID()].Verdict), nil
}

// firstCommit is what git says at the end.
var firstCommit = regexp.MustCompile(`(?m)^([0-9a-f]{40,64}) is the first (bad|mended) commit$`)

// bisect tests the good and the bad commit, and has git choose those between; of
// one commit it returns the outcome as an exit code.
func (t *treeBisection) bisect(ctx context.Context, commits []string, ends []plan.Entry) error {
	outcomes := make([]bisect.Outcome, len(ends))
	for i, e := range ends {
		var err error
		if outcomes[i], err = t.try(ctx, e); err != nil {
			return err
		}
	}
	if len(ends) == 1 {
		switch outcomes[0] {
		case bisect.Good:
			return nil
		case bisect.Bad:
			return exitError(report.ExitFail)
		}
		return exitError(report.ExitNotTested)
	}
	for i, x := range []struct {
		flag string
		want bisect.Outcome
		does string
	}{{"--good", bisect.Good, "does not pass"}, {"--bad", bisect.Bad, "does not fail"}} {
		if outcomes[i] != x.want {
			fmt.Fprintf(t.stdout, "\n%s %s %s: give another commit\n", x.flag, ends[i].ID(), x.does)
			return exitError(report.ExitNotTested)
		}
	}
	work := filepath.Join(t.builder.Scratch, "bisect")
	if _, err := t.git(ctx, t.dir, "worktree", "add", "--detach", "--no-checkout", "--quiet", work, commits[0]); err != nil {
		return err
	}
	defer func() { _, _ = t.git(context.WithoutCancel(ctx), t.dir, "worktree", "remove", "--force", work) }()
	good, bad := "good", "bad"
	old, young := commits[0], commits[1]
	start := []string{"bisect", "start", "--no-checkout"}
	if _, err := t.git(ctx, t.dir, "merge-base", "--is-ancestor", commits[1], commits[0]); err == nil {
		good, bad, old, young = "mended", "broken", young, old
		start = append(start, "--term-old="+bad, "--term-new="+good)
	}
	text, err := t.git(ctx, work, append(start, young, old)...)
	for boots := len(ends); ; boots++ {
		if m := firstCommit.FindStringSubmatch(text); m != nil {
			return t.found(m[1], m[2], text, boots)
		}
		commit, herr := t.git(ctx, work, "rev-parse", "--verify", "--quiet", "BISECT_HEAD")
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case strings.Contains(text, "only 'skip'ped commits left"):
			fmt.Fprintf(t.stdout, "\nnot found: commits could not be built or tested\n%s\n", report.Text(text))
			return exitError(report.ExitNotTested)
		case err != nil || herr != nil:
			return errors.Join(err, herr)
		case t.maximum > 0 && boots >= t.maximum:
			fmt.Fprintf(t.stdout, "\nnot found: --max-boots %d does not suffice\n%s\n", t.maximum, report.Text(text))
			return exitError(report.ExitNotTested)
		}
		fmt.Fprintf(t.stdout, "\n%s\n", report.Text(text))
		e, berr := t.build(ctx, commit)
		word := "skip"
		if berr == nil && e != nil {
			var o bisect.Outcome
			o, berr = t.try(ctx, *e)
			switch o {
			case bisect.Good:
				word = good
			case bisect.Bad:
				word = bad
			}
		}
		if berr != nil {
			return berr
		}
		text, err = t.git(ctx, work, "bisect", word, commit)
	}
}

// found prints the commit and how to see it.
func (t *treeBisection) found(commit, what, text string, boots int) error {
	fmt.Fprintf(t.stdout, "\n%s\n\n(%s)\n", report.Text(text), count(boots, "build"))
	for _, id := range []string{commit[:12]} {
		for _, e := range t.lines[0].entries {
			if !strings.HasSuffix(e.ID(), "-g"+id) {
				continue
			}
			if what == "bad" {
				t.tellFailure(e.ID(), func(format string, args ...any) { fmt.Fprintf(t.stdout, format+"\n", args...) })
			}
			if cmd := t.results[e.ID()].Reproduce; cmd != "" {
				fmt.Fprintf(t.stdout, "to see it:\n  %s\n", cmd)
			}
		}
	}
	return nil
}
