package main

import (
	"cmp"
	"context"
	"os"
	"slices"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/host"
	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/kernel/btfhub"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/preflight"
)

func (c *command) preflightCommand() *cobra.Command {
	var so sourceOptions
	var patterns []string
	var given objectSettings
	var arch, loader, indexPath string
	var asJSON bool
	var jobs int
	cmd := &cobra.Command{
		Use:   "preflight --objects GLOB... (--kernels SRC... | --index FILE)",
		Short: "Find what BPF objects need and kernels lack, without booting",
		Long: `Reads the types (BTF), symbols and build options of each kernel and compares them
with what the objects depend on: CO-RE relocations, attach targets and their
arguments, kfuncs, helpers, and the types of maps and programs.

With --index it needs no kernels: it looks at those of the index, or at those of
the sources where they are named too, and fetches what the index does not have.

Exit codes: 0 nothing is known to be missing; 1 a program will not load or attach
on some kernel; 2 wrong usage or input; 3 something is unknown.`,
		Example: `  bpf-kernel-check preflight --objects 'build/*.bpf.o' --kernels debian:bookworm:cloud-amd64
  bpf-kernel-check preflight --objects probe.bpf.o --kernels @kernels.txt --json
  bpf-kernel-check preflight --objects probe.bpf.o --index index.bki`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(patterns) == 0 {
				return usagef("no objects: name BPF object files with --objects, such as --objects 'build/*.bpf.o'")
			}
			sources, err := so.specs(args, "no kernels to look at")
			if err != nil && (indexPath == "" || so.named(args)) {
				return err
			}
			if goarch.Lookup(arch).Name == "" {
				return usagef("--arch is %q: want %s", arch, goarch.List())
			}
			if jobs < 1 || jobs > 1024 {
				return usagef("-j, --jobs is %d: want 1 to 1024", jobs)
			}
			if err := checkLoader(loader); err != nil {
				return err
			}
			settings, err := given.parse()
			if err != nil {
				return err
			}
			types, err := given.openBTF()
			if err != nil {
				return err
			}
			useMemory()
			x, err := openIndex(indexPath)
			if err != nil {
				return err
			}
			defer x.Close()
			objects, err := readObjects(patterns, arch, loader, settings)
			if err != nil {
				return err
			}
			srcs := []kernel.Source{indexSource{x, indexPath}}
			if len(sources) > 0 {
				if srcs, err = c.sources(sources, arch); err != nil {
					return err
				}
			} else if !slices.ContainsFunc(x.Heads(), func(h index.Head) bool { return h.Arch == arch }) {
				return usagef("the index %q has no kernel for %s", indexPath, arch)
			}
			plan, err := plan.Select(cmd.Context(), srcs, c.filter(&so, arch))
			if err != nil {
				c.printSkipped(c.stderr, plan)
				return err
			}
			s, err := c.survey(cmd.Context(), objects, settings.Alternatives, types, x, plan.Entries, jobs)
			if err != nil {
				return err
			}
			if asJSON {
				err = s.JSON(c.stdout)
			} else if err = s.Text(c.stdout); err == nil {
				c.printSkipped(c.stdout, plan)
			}
			if err != nil {
				return err
			}
			switch loads, attaches := s.Loads(), s.Attaches(); {
			case loads == preflight.WillNot || attaches == preflight.WillNot:
				return exitError(report.ExitFail)
			case loads == preflight.MayLoad || attaches == preflight.MayLoad:
				return exitError(report.ExitNotTested)
			}
			return nil
		},
	}
	so.add(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&patterns, "objects", nil, "BPF object files that match `GLOB`; repeatable")
	f.StringVar(&loader, "loader", wire.LoaderAuto, "check for `LOADER`: libbpf, ebpf-go, both (what libbpf needs, of objects that ebpf-go reads), or auto, which takes for each object what it was made for, libbpf if it does not tell")
	given.add(f)
	f.StringVar(&indexPath, "index", "", "take what is known of kernels from `FILE`, which bpf-kernel-check index has made")
	f.StringVar(&arch, "arch", "amd64", "check kernels for `ARCH`, "+goarch.List())
	jobsFlag(f, &jobs, "kernels at a time")
	f.BoolVar(&asJSON, "json", false, "print JSON, with every program and dependency of each kernel")
	return cmd
}

func readObjects(patterns []string, arch, loader string, settings wire.ObjectSettings) ([]*preflight.Object, error) {
	paths, err := guest.FindObjects(patterns)
	if err != nil {
		return nil, err
	}
	files, err := guest.ReadObjects(paths, arch)
	if err != nil {
		return nil, err
	}
	if err := checkSettings(files, settings); err != nil {
		return nil, err
	}
	objects := make([]*preflight.Object, len(files))
	for i, f := range files {
		if f.Broken != "" {
			objects[i] = &preflight.Object{Name: f.Name, Broken: f.Broken}
		} else {
			objects[i] = preflight.ReadOrBroken(f.Name, f.Data, arch)
			chosen := guest.ChooseLoader(wire.Object{Loader: loader}, f, arch)
			if loader == wire.LoaderBoth { // which libbpf answers for
				chosen.Broken = guest.ChooseLoader(wire.Object{Loader: wire.LoaderGo}, f, arch).Broken
			}
			objects[i].Loader, objects[i].Broken = chosen.Loader, cmp.Or(objects[i].Broken, chosen.Broken)
		}
		if err := objects[i].Apply(settings); err != nil {
			return nil, usageError{err}
		}
	}
	return objects, nil
}

// survey compares the objects with each kernel. A kernel's own error is in its
// entry.
func (c *command) survey(ctx context.Context, objects []*preflight.Object, alternatives [][]string, types *btfhub.Files, x *index.Index, entries []plan.Entry, jobs int) (*preflight.Survey, error) {
	cache, err := c.openCache()
	if err != nil {
		return nil, err
	}
	scratch, remove, err := host.MakeScratch(os.TempDir())
	if err != nil {
		return nil, err
	}
	defer remove()
	s := &preflight.Survey{Objects: objects, Kernels: make([]preflight.On, len(entries))}
	var looking errgroup.Group
	looking.SetLimit(jobs)
	for i, e := range entries {
		looking.Go(func() error {
			if ctx.Err() == nil {
				s.Kernels[i] = look(ctx, objects, alternatives, types, x, e, cache, scratch)
			}
			return ctx.Err()
		})
	}
	if err := looking.Wait(); err != nil {
		return nil, err
	}
	s.Finish()
	return s, nil
}

func look(ctx context.Context, objects []*preflight.Object, alternatives [][]string, types *btfhub.Files, x *index.Index, e plan.Entry, cache *kernel.Cache, scratch string) preflight.On {
	on := preflight.On{ID: e.ID()}
	k, err := loadKernel(ctx, x, e, cache, scratch)
	if err == nil {
		err = k.TakeTypes(ctx, types)
	}
	if err != nil {
		on.Err = report.OneLine(err.Error(), 300)
		return on
	}
	on.Results = preflight.CheckAll(objects, k, alternatives, true)
	return on
}

// loadKernel reads what is known of a kernel from the index, or else from the
// kernel itself.
func loadKernel(ctx context.Context, x *index.Index, e plan.Entry, cache *kernel.Cache, scratch string) (*preflight.Kernel, error) {
	f, err := x.Facts(e.ID(), e.Digest)
	if err != nil {
		return nil, err
	}
	if f != nil {
		return preflight.NewKernel(f)
	}
	im, err := e.Source.Open(ctx, e.Ref)
	if err != nil {
		return nil, err
	}
	return preflight.Load(ctx, im, cache, scratch, "")
}
