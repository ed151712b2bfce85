package build

import (
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
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
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
		default:
			if err := checkTarball(src); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkTarball looks at the start of a file: it is compressed, or a tar archive.
func checkTarball(file string) error {
	f, err := os.Open(file)
	if err != nil {
		return usagef("source: %v", err)
	}
	defer f.Close()
	head := make([]byte, 512)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return usagef("source: %v", err)
	}
	if image.CompressionOf(head[:n]) == image.NoCompression && string(head[257:262]) != "ustar" {
		return usagef("source %q is no tar archive: %s", file, sourceHelp)
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
			var k *Kernel
			k, err = tarball(ctx, src)
			kernels = []*Kernel{k}
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

// commits lists what is to be built of a repository: its refs, then its tags.
func (b *Builder) commits(ctx context.Context, dir string) ([]*Kernel, error) {
	git, err := GitDir(dir)
	if err == nil {
		git, err = filepath.Abs(git)
	}
	if err != nil {
		return nil, err
	}
	var out []*Kernel
	for _, ref := range b.Refs {
		k, err := commit(ctx, git, ref)
		if err != nil {
			return nil, usagef("source %q: %q is no branch and no commit there", dir, ref)
		}
		id := strings.TrimPrefix(k.id, "git:")
		k.Source, k.suffix = dir, "-g"+id[:12]
		if ref != "HEAD" && !strings.HasPrefix(id, ref) {
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
	list, err := output(ctx, exec.CommandContext(ctx, "git", "--git-dir="+git, "for-each-ref", "--format=%(refname:strip=2)", "refs/tags"))
	if err != nil {
		return nil, usagef("source %q: list its tags: %v", dir, err)
	}
	match := b.Tags
	if match == nil {
		match = releases
	}
	var out []*Kernel
	old := 0
	tags := strings.Fields(list) // no name of git's has a space
	for _, tag := range tags {
		if !match.MatchString(tag) {
			continue
		}
		if m := versionTag.FindStringSubmatch(tag); m != nil && report.CompareVersions(m[1], Oldest) < 0 {
			old++
			continue
		}
		k, err := commit(ctx, git, "refs/tags/"+tag)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if err != nil {
			continue // it is for something else, as v2.6.11-tree is
		}
		k.Source, k.tree = dir+" "+tag, tag
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

var objectName = regexp.MustCompile(`^[0-9a-f]{40}([0-9a-f]{24})?$`)

// commit is the kernel of the commit that ref names.
func commit(ctx context.Context, git, ref string) (*Kernel, error) {
	out, err := output(ctx, exec.CommandContext(ctx, "git", "--git-dir="+git, "rev-parse", "--verify", "--end-of-options", ref+"^{commit}"))
	if err != nil {
		return nil, err
	}
	id := strings.TrimSpace(out)
	if !objectName.MatchString(id) {
		return nil, fmt.Errorf("git says that %q is %.100q", ref, id)
	}
	return &Kernel{id: "git:" + id, unpack: func(ctx context.Context, to string) error {
		archive := to + ".tar"
		if _, err := output(ctx, exec.CommandContext(ctx, "git", "--git-dir="+git, "archive", "--prefix=linux/", "--output="+archive, id)); err != nil {
			return fmt.Errorf("read commit %s: %w", id, err)
		}
		return errors.Join(untar(ctx, archive, to), os.Remove(archive))
	}}, nil
}

// tarball is the one kernel of a source archive. Its version is known once it is
// unpacked.
func tarball(ctx context.Context, file string) (*Kernel, error) {
	digest, err := kernel.HashFile(ctx, file)
	if err == nil {
		file, err = filepath.Abs(file)
	}
	if err != nil {
		return nil, fmt.Errorf("read source %q: %w", file, err)
	}
	return &Kernel{Source: file, id: digest, unpack: func(ctx context.Context, to string) error { return untar(ctx, file, to) }}, nil
}

// untar unpacks an archive with one directory, whose files it writes to dir. The
// program tar finds out itself how the file is compressed, and writes nothing
// outside of dir.
func untar(ctx context.Context, file, dir string) error {
	_, err := output(ctx, exec.CommandContext(ctx, "tar", "--extract", "--file="+file, "--strip-components=1", "--directory="+dir, "--no-same-owner", "--no-same-permissions"))
	if err != nil {
		return fmt.Errorf("unpack %s: %w", file, err)
	}
	return nil
}
