package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/screen"
	"github.com/elastic/bpf-kernel-check/shard/host"
	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/preflight"
)

func (c *command) indexCommand() *cobra.Command {
	var so sourceOptions
	var arch, out string
	var jobs int
	cmd := &cobra.Command{
		Use:   "index --kernels SRC... --out FILE",
		Short: "Keep what is known of many kernels in one file",
		Long: `Reads the types (BTF), symbols and build options of each kernel, and what its
modules define, and writes them into one file: preflight --index then needs no
kernels. What is in the file already is taken from there, so that only new kernels
are fetched; kernels that are no longer listed are left out.

Exit codes: 0 the index has all kernels; 2 wrong usage or input; 3 some kernel
cannot be read and is left out.`,
		Example: `  bpf-kernel-check index --kernels debian:bookworm:cloud-amd64 --out index.bki
  bpf-kernel-check preflight --index index.bki --objects 'build/*.bpf.o'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			sources, err := so.specs(args, "no kernels to look at")
			if err != nil {
				return err
			}
			switch {
			case arch != "" && goarch.Lookup(arch).Name == "":
				return usagef("--arch is %q: want %s", arch, goarch.List())
			case jobs < 1 || jobs > 1024:
				return usagef("-j, --jobs is %d: want 1 to 1024", jobs)
			case out == "":
				return usagef("--out is empty: want a file, such as index.bki")
			}
			if _, err := os.Stat(filepath.Dir(out)); err != nil { // before kernels are fetched
				return usagef("--out: %w", err)
			}
			useMemory()
			old, err := c.oldIndex(out)
			if err != nil {
				return err
			}
			defer old.Close()
			srcs, err := c.sources(sources, arch)
			if err != nil {
				return err
			}
			list, err := plan.Select(cmd.Context(), srcs, c.filter(&so, arch))
			c.printSkipped(c.stderr, list)
			if err != nil {
				return err
			}
			return c.makeIndex(cmd.Context(), list.Entries, old, out, jobs)
		},
	}
	so.add(cmd)
	f := cmd.Flags()
	f.StringVarP(&out, "out", "o", "index.bki", "`FILE` to write the index to, and to take from what it has")
	f.StringVar(&arch, "arch", "", "only kernels for `ARCH`, "+goarch.List())
	jobsFlag(f, &jobs, "kernels to fetch at a time")
	cmd.AddCommand(c.indexDiffCommand(), c.indexQueryCommand())
	return cmd
}

// useMemory lets a command that boots nothing have memory.
func useMemory() {
	if debug.SetMemoryLimit(-1) == memoryLimit { // of a process that has nothing else to do
		debug.SetMemoryLimit(10 * memoryLimit)
		debug.SetGCPercent(100)
	}
}

// oldIndex opens the index that is written anew; nil where there is none, or none
// that can be read.
func (c *command) oldIndex(path string) (*index.Index, error) {
	x, err := index.Open(path)
	var bad *index.FormatError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, nil
	case errors.As(err, &bad) && !bad.Foreign:
		c.warn(fmt.Sprintf("the index %q %s: all kernels are read again", path, bad.Reason))
		return nil, nil
	case err != nil:
		return nil, usagef("--out: %w", err)
	}
	return x, nil
}

// isWhole says whether an index has just these kernels, and none of them damaged.
func isWhole(x *index.Index, entries []plan.Entry) bool {
	if x == nil || len(x.Heads()) != len(entries) {
		return false
	}
	for _, e := range entries {
		if f, err := x.Facts(e.ID(), e.Digest); f == nil || err != nil {
			return false
		}
	}
	return true
}

// makeIndex writes an index of kernels, unless old is one of them already.
func (c *command) makeIndex(ctx context.Context, entries []plan.Entry, old *index.Index, out string, jobs int) error {
	cache, err := c.openCache()
	if err != nil {
		return err
	}
	scratch, remove, err := host.MakeScratch(os.TempDir())
	if err != nil {
		return err
	}
	defer remove()
	read := func(e plan.Entry) (*index.Facts, error) {
		if f, err := old.Facts(e.ID(), e.Digest); f != nil && err == nil {
			return f, nil
		}
		im, err := e.Source.Open(ctx, e.Ref)
		if err != nil {
			return nil, err
		}
		return preflight.ReadFacts(ctx, im, cache, scratch)
	}
	// What is read here stays in the cache: kernels are compressed one after the
	// other, and held in memory no longer than that takes.
	failed := make([]error, len(entries))
	var reading errgroup.Group
	reading.SetLimit(jobs)
	for i, e := range entries {
		if old.Has(e.ID(), e.Digest) {
			continue
		}
		reading.Go(func() error {
			if ctx.Err() == nil {
				_, failed[i] = read(e)
			}
			if terminal(c.stderr) != nil {
				fmt.Fprintf(c.stderr, "read %s\n", e.ID())
			}
			return ctx.Err()
		})
	}
	if err := reading.Wait(); err != nil {
		return err
	}
	if isWhole(old, entries) {
		return c.tellIndex(out, len(entries), 0, 0)
	}
	n, fresh, next, removed := 0, 0, 0, len(old.Heads())
	err = kernel.WriteAtomic(out, 0o644, func(w io.Writer) error {
		return index.Write(w, func() (*index.Facts, error) {
			for ; next < len(entries); next++ {
				e, err := entries[next], failed[next]
				var f *index.Facts
				if err == nil {
					f, err = read(e)
				}
				switch {
				case ctx.Err() != nil:
					return nil, ctx.Err()
				case err != nil:
					c.warn(fmt.Sprintf("%s is left out: %v", e.ID(), err))
					continue
				case !old.Has(e.ID(), e.Digest):
					fresh++
				}
				if slices.ContainsFunc(old.Heads(), func(h index.Head) bool { return h.ID == e.ID() }) {
					removed--
				}
				n, next = n+1, next+1
				return f, nil
			}
			if n == 0 {
				return nil, errors.New("no kernel can be read")
			}
			return nil, io.EOF
		})
	})
	if err != nil {
		return err
	}
	if err := c.tellIndex(out, n, fresh, removed); err != nil {
		return err
	}
	if n < len(entries) {
		return exitError(report.ExitNotTested)
	}
	return nil
}

func (c *command) tellIndex(out string, n, fresh, removed int) error {
	info, err := os.Stat(out)
	if err == nil {
		left := ""
		if removed > 0 {
			left = fmt.Sprintf(", %d removed", removed)
		}
		fmt.Fprintf(c.stdout, "%s, %d new%s, %s in %s\n", count(n, "kernel"), fresh, left, screen.Size(info.Size()), out)
	}
	return err
}

// indexSource lists the kernels of an index, of which there are only the facts.
type indexSource struct {
	*index.Index
	path string
}

func (s indexSource) String() string { return s.path }

func (s indexSource) List(context.Context) (refs []kernel.Ref, err error) {
	for _, h := range s.Heads() {
		distro, name, _ := strings.Cut(h.ID, "/")
		refs = append(refs, kernel.Ref{Distro: distro, Name: name, Release: h.Release, Arch: h.Arch, Digest: h.Digest})
	}
	return refs, nil
}

func (s indexSource) Open(_ context.Context, ref kernel.Ref) (*kernel.Image, error) {
	return nil, fmt.Errorf("%s has what is known of %s, and not the kernel itself", s.path, ref.ID())
}
