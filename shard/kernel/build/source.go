package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/child"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/bounded"
)

const sourceHelp = "want a git repository of the kernel, or a source tarball such as /usr/src/linux-source-6.1.tar.xz"

// releases are the tags that are built when nobody says which.
var releases = regexp.MustCompile(`^v[0-9]+\.[0-9]+(\.[0-9]+)?$`)

// versionTag is a tag that says its version, such as v5.13.4 or v6.12-rc1.
var versionTag = regexp.MustCompile(`^v([0-9]+\.[0-9].*)$`)

// CheckSources returns a *UsageError for a source that is none.
func (b *Builder) CheckSources() error {
	for _, src := range b.Sources {
		st, err := os.Stat(src)
		switch {
		case errors.Is(err, os.ErrNotExist):
			return usagef("source %q is not there: %s", src, sourceHelp)
		case err != nil:
			return usagef("source: %v", err)
		case st.IsDir():
			if _, err := GitDir(src); err != nil {
				return err
			}
		case len(b.Refs) > 0:
			return usagef("source %q is no git repository: branches and commits are of one", src)
		case !st.Mode().IsRegular():
			return usagef("source %q is no file and no directory: %s", src, sourceHelp)
		}
	}
	return nil
}

// list makes the kernels of all sources: of each tree with each recipe, the one
// without the patches first.
func (b *Builder) list(ctx context.Context) ([]*Kernel, error) {
	var out []*Kernel
	for _, src := range b.Sources {
		st, err := os.Stat(src)
		if err != nil {
			return nil, usagef("source: %v", err)
		}
		var kernels []*Kernel
		if st.IsDir() {
			kernels, err = b.commits(ctx, src)
		} else {
			kernels, err = tarball(ctx, src)
		}
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			return nil, err
		}
		for _, k := range kernels {
			for _, r := range b.Recipes {
				k := *k
				k.recipe, k.suffix = r, k.suffix+r.Name
				out = append(out, &k)
				if len(b.Patches) > 0 {
					patched := k
					patched.patch, patched.suffix = b.Patches, k.suffix+"-patched"
					out = append(out, &patched)
				}
			}
		}
	}
	for _, k := range out {
		if k.tree != "" {
			k.name("")
		}
	}
	return out, nil
}

// GitDir finds the repository of dir itself: one that is only around it has
// other tags. An error is a *UsageError.
func GitDir(dir string) (string, error) {
	if _, err := os.Stat(filepath.Join(dir, ".git")); err == nil {
		return filepath.Join(dir, ".git"), nil
	}
	for _, f := range []string{"HEAD", "objects", "refs"} {
		if _, err := os.Stat(filepath.Join(dir, f)); err != nil {
			return "", usagef("source %q is no git repository: %s", dir, sourceHelp)
		}
	}
	return dir, nil
}

// maxTags caps a repository; Linux has about 900 tags, and its stable
// repository 6000.
const maxTags = 100_000

// commits lists what is to be built of a repository.
func (b *Builder) commits(ctx context.Context, dir string) ([]*Kernel, error) {
	git, err := GitDir(dir)
	if err != nil {
		return nil, err
	}
	if git, err = filepath.Abs(git); err != nil {
		return nil, err
	}
	var out []*Kernel
	for _, ref := range b.Refs {
		cmd := exec.CommandContext(ctx, "git", "--git-dir="+git, "rev-parse", "--verify", "--quiet", "--end-of-options", ref+"^{commit}")
		cmd.Env = environ()
		id, err := child.Output(cmd)
		commit := strings.TrimSpace(string(id))
		if err != nil || !objectName.MatchString(commit) {
			return nil, usagef("source %q: %q is no branch and no commit there", dir, ref)
		}
		k := commitKernel(git, commit)
		k.Source, k.suffix = dir+" "+ref, "-g"+commit[:12]
		if ref != "HEAD" && !strings.HasPrefix(commit, ref) {
			k.suffix = "-" + ref + k.suffix
		}
		out = append(out, k)
	}
	if len(b.Refs) > 0 && b.Tags == nil {
		return out, nil
	}
	tags, err := b.tags(ctx, dir, git)
	return append(out, tags...), err
}

// tags lists the matching tags of a repository, the newest first.
func (b *Builder) tags(ctx context.Context, dir, git string) ([]*Kernel, error) {
	// Of a tag object the commit that it is for, else the commit itself.
	cmd := exec.CommandContext(ctx, "git", "--git-dir="+git, "for-each-ref", "refs/tags",
		"--format=%(refname:strip=2)%00%(objecttype)%00%(objectname)%00%(*objecttype)%00%(*objectname)")
	cmd.Env = environ()
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	list, err := child.Output(cmd)
	if err != nil {
		return nil, usagef("source %q: list its tags: %v: %s", dir, err, bounded.OneLine(stderr.String()))
	}
	tags, err := parseTags(list)
	if err != nil {
		return nil, usagef("source %q: %v", dir, err)
	}
	match := b.Tags
	if match == nil {
		match = releases
	}
	var out []*Kernel
	old := 0
	for _, t := range tags {
		if !match.MatchString(t.name) {
			continue
		}
		if m := versionTag.FindStringSubmatch(t.name); m != nil && report.CompareVersions(m[1], Oldest) < 0 {
			old++
			continue
		}
		k := commitKernel(git, t.commit)
		k.Source, k.tree = dir+" "+t.name, t.name
		out = append(out, k)
	}
	switch {
	case len(out) > 0:
	case old > 0:
		return nil, usagef("source %q: all %d tags that match are older than %s, the oldest kernel that can be built", dir, old, Oldest)
	case len(tags) == 0:
		return nil, usagef("source %q has no tags: fetch them with git fetch --tags", dir)
	default:
		return nil, usagef("source %q: none of its %d tags matches: give a pattern for the whole of a tag, such as 'v6\\.1\\..*'; without one, final releases such as v6.1.4 match", dir, len(tags))
	}
	slices.SortFunc(out, func(x, y *Kernel) int { return report.CompareVersions(y.tree, x.tree) })
	return out, nil
}

type tag struct{ name, commit string }

var objectName = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// parseTags reads git's list and leaves out tags of what is not a commit, such
// as v2.6.11-tree.
func parseTags(list []byte) ([]tag, error) {
	var out []tag
	for line := range bytes.Lines(list) {
		f := strings.Split(strings.TrimSuffix(string(line), "\n"), "\x00")
		if len(f) != 5 {
			return nil, fmt.Errorf("git's list of tags has the line %.100q", line)
		}
		t := tag{f[0], f[2]}
		kind := f[1]
		if kind == "tag" {
			kind, t.commit = f[3], f[4]
		}
		if kind != "commit" {
			continue
		}
		if !objectName.MatchString(t.commit) || t.name == "" {
			return nil, fmt.Errorf("git's list of tags has the line %.100q", line)
		}
		if out = append(out, t); len(out) > maxTags {
			return nil, fmt.Errorf("it has more than %d tags", maxTags)
		}
	}
	return out, nil
}

func commitKernel(git, commit string) *Kernel {
	return &Kernel{id: "git:" + commit, unpack: func(ctx context.Context, to string) error { return unpackCommit(ctx, git, commit, to) }}
}

// unpackCommit writes a commit's files to the directory to.
func unpackCommit(ctx context.Context, git, commit, to string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	archive := exec.CommandContext(ctx, "git", "--git-dir="+git, "archive", "--format=tar", commit)
	archive.Env = environ()
	var stderr bytes.Buffer
	archive.Stderr = &stderr
	out, err := archive.StdoutPipe()
	if err != nil {
		return fmt.Errorf("read commit %s: %w", commit, err)
	}
	child.Group(archive)
	if err := child.Start(archive); err != nil {
		return fmt.Errorf("read commit %s: %w", commit, err)
	}
	uerr := untar(ctx, out, to)
	if uerr != nil {
		cancel() // git would wait for a reader
	}
	if err := archive.Wait(); err != nil && (uerr == nil || stderr.Len() > 0) {
		return fmt.Errorf("read commit %s: %w: %s", commit, err, bounded.OneLine(stderr.String()))
	}
	return uerr
}

// tarball is the one kernel of a source archive. Which one, it says itself
// once it is unpacked.
func tarball(ctx context.Context, file string) ([]*Kernel, error) {
	digest, err := kernel.HashFile(ctx, file)
	if err != nil {
		return nil, fmt.Errorf("read source %q: %w", file, err)
	}
	file, err = filepath.Abs(file)
	if err != nil {
		return nil, err
	}
	return []*Kernel{{
		Source: file, id: digest,
		unpack: func(ctx context.Context, to string) error {
			if err := untar(ctx, nil, to, "--file="+file, "--strip-components=1"); err != nil {
				return fmt.Errorf("%s: %w", file, err)
			}
			return nil
		},
	}}, nil
}

// untar runs tar, which finds out itself how a file is compressed and stays in
// the directory.
func untar(ctx context.Context, r io.Reader, dir string, args ...string) error {
	if r != nil {
		args = append(args, "--file=-")
	}
	cmd := exec.CommandContext(ctx, "tar", slices.Concat([]string{"--extract", "--directory=" + dir, "--no-same-owner", "--no-same-permissions"}, args)...)
	cmd.Env = environ()
	var stderr bytes.Buffer
	cmd.Stdin, cmd.Stderr = r, &stderr
	err := runGroup(ctx, cmd)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return fmt.Errorf("unpack the source: tar: %w: %s", err, bounded.OneLine(stderr.String()))
	}
	return nil
}
