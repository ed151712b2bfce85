package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/preflight"
)

func (c *command) indexDiffCommand() *cobra.Command {
	var file, loader string
	var patterns []string
	var most int
	cmd := &cobra.Command{
		Use:   "diff --index FILE A B",
		Short: "Show what changed between two kernels for BPF programs",
		Long: `Prints as Markdown what changed for BPF programs from kernel A to kernel B of an
index: types of programs and maps, helpers, kfuncs, tracepoints, functions and how
they can be attached to, structs, enums and build options. With --objects, only
what the objects depend on, and which programs.

A and B are ids or names, or globs that match one kernel.

Exit codes: 0 done; 2 wrong usage or input; 3 a kernel of the index cannot be read.`,
		Example: `  bpf-kernel-check index diff --index index.bki 6.1.0-57-cloud-amd64 '6.12.118*'
  bpf-kernel-check index diff --index index.bki '7.1.13*' '7.2.6*' --objects 'build/*.bpf.o'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("index diff has %s: want two kernels, as index diff --index FILE A B", count(len(args), "argument"))
			}
			if err := checkMost(most); err != nil {
				return err
			}
			if err := checkLoader(loader); err != nil {
				return err
			}
			x, err := requireIndex(file)
			if err != nil {
				return err
			}
			defer x.Close()
			var kernels [2]*preflight.Kernel
			for i, name := range args {
				heads, err := headsOf(x, []string{name})
				if err != nil {
					return err
				}
				if len(heads) > 1 {
					return usagef("%q is more than one kernel: name one of %s", name, someOf(idsOf(heads)))
				}
				if kernels[i], err = readHead(x, heads[0]); err != nil {
					return err
				}
			}
			a, b := kernels[0], kernels[1]
			if a.ID == b.ID {
				return usagef("A and B are the same kernel, %s", a.ID)
			}
			if len(patterns) == 0 {
				return preflight.Diff(a, b).Markdown(c.stdout, most)
			}
			if a.Arch != b.Arch {
				return usagef("the kernels are for %s and %s: with --objects, want two for one architecture", a.Arch, b.Arch)
			}
			objects, err := readObjects(patterns, a.Arch, loader, wire.ObjectSettings{})
			if err != nil {
				return err
			}
			return preflight.DiffFor(objects, a, b).Markdown(c.stdout, most)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "index", "", "index of kernels, as `FILE`")
	f.StringArrayVar(&patterns, "objects", nil, "BPF object files that match `GLOB`: show only what they depend on; repeatable")
	f.StringVar(&loader, "loader", wire.LoaderAuto, "with --objects: compare for `LOADER`, as preflight does")
	f.IntVar(&most, "max", 50, "print at most `N` of each list; 0 prints all")
	return cmd
}

func checkMost(most int) error {
	if most < 0 {
		return usagef("--max is %d: want at least 1, or 0 for all", most)
	}
	return nil
}

func requireIndex(file string) (*index.Index, error) {
	if file == "" {
		return nil, usagef("no index of kernels: name one with --index")
	}
	useMemory()
	return openIndex(file)
}

// headsOf are the kernels of an index whose id, or name without the version of
// its package, matches one of the globs; all where there are none.
func headsOf(x *index.Index, globs []string) ([]index.Head, error) {
	all := slices.Clone(globs)
	for _, g := range globs {
		if err := report.CheckKernelGlob(g); err != nil {
			return nil, usageError{err}
		}
		all = append(all, g+"__*")
	}
	heads := slices.Clone(x.Heads())
	found := slices.DeleteFunc(slices.Clone(heads), func(h index.Head) bool { return !report.MatchKernel(all, h.ID) })
	if len(found) > 0 || len(globs) == 0 {
		return found, nil
	}
	near := func(h index.Head) int {
		return max(alike(globs[0], h.ID), alike(globs[0], h.ID[strings.Index(h.ID, "/")+1:]))
	}
	slices.SortStableFunc(heads, func(a, b index.Head) int { return near(b) - near(a) })
	return nil, usagef("the index has no kernel %q: name one of %s", strings.Join(globs, " "), someOf(idsOf(heads)))
}

func idsOf(heads []index.Head) (ids []string) {
	for _, h := range heads {
		ids = append(ids, h.ID)
	}
	return ids
}

func readHead(x *index.Index, h index.Head) (*preflight.Kernel, error) {
	facts, err := x.Facts(h.ID, h.Digest)
	if err != nil {
		return nil, err
	}
	return preflight.NewKernel(facts)
}
