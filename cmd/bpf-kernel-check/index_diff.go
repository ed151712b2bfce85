package main

import (
	"math"
	"path"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
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

A and B are ids of the index, or names, or patterns that match one of them.

Exit codes: 0 done; 2 wrong usage or input; 3 a kernel of the index cannot be read.`,
		Example: `  bpf-kernel-check index diff --index index.bki 6.1.0-57-cloud-amd64 '6.12.118*'
  bpf-kernel-check index diff --index index.bki '7.1.13*' '7.2.6*' --objects 'build/*.bpf.o'`,
		Args: twoKernels,
		RunE: func(_ *cobra.Command, args []string) error {
			if err := checkLoader(loader); err != nil {
				return err
			}
			if most < 0 {
				return usagef("--max is %d: want a number of lines, or 0 for all", most)
			}
			debug.SetMemoryLimit(math.MaxInt64) // no VMs run that need it more
			debug.SetGCPercent(100)
			x, err := requireIndex(file)
			if err != nil {
				return err
			}
			defer x.Close()
			var kernels [2]*preflight.Kernel
			for i, name := range args {
				head, err := findHead(x.Heads(), name)
				if err != nil {
					return err
				}
				if kernels[i], err = kernelOf(x, head); err != nil {
					return err
				}
			}
			if len(patterns) == 0 {
				return preflight.Diff(kernels[0], kernels[1]).Markdown(c.stdout, most)
			}
			if a, b := kernels[0].Arch, kernels[1].Arch; a != b {
				return usagef("the kernels are for %s and %s: with --objects, want two for one architecture", a, b)
			}
			objects, err := readObjects(patterns, kernels[0].Arch, loader, wire.ObjectSettings{})
			if err != nil {
				return err
			}
			return preflight.DiffFor(objects, kernels[0], kernels[1]).Markdown(c.stdout, most)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "index", "", "index of kernels, as `FILE`")
	f.StringArrayVar(&patterns, "objects", nil, "BPF object files that match `GLOB`: show only what they depend on; repeatable")
	f.StringVar(&loader, "loader", wire.LoaderAuto, "with --objects: compare for `LOADER`, as preflight does")
	f.IntVar(&most, "max", 50, "print at most `N` of each list; 0 prints all")
	return cmd
}

func twoKernels(_ *cobra.Command, args []string) error {
	if len(args) != 2 {
		return usagef("index diff has %s: want two kernels, as index diff --index FILE A B", count(len(args), "argument"))
	}
	return nil
}

func requireIndex(file string) (*index.Index, error) {
	if file == "" {
		return nil, usagef("no index of kernels: name one with --index")
	}
	return openIndex(file)
}

// findHead finds the one kernel that an id, a name or a pattern is of.
func findHead(heads []index.Head, name string) (index.Head, error) {
	var found []index.Head
	var ids []string
	for _, h := range heads {
		if matchesKernel(name, h.ID) {
			found = append(found, h)
		}
		ids = append(ids, h.ID)
	}
	shown := func(list []string) string {
		return report.List(list, 10, func(id string) string { return report.OneLine(id, 100) })
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		near := slices.DeleteFunc(slices.Clone(ids), func(id string) bool { return !strings.Contains(id, strings.Trim(name, "*")) })
		if len(near) == 0 {
			var names []string
			for _, id := range ids {
				names = append(names, shortName(id))
			}
			return index.Head{}, usagef("the index has no kernel %q%s: it has %s", name, kernel.Suggest(name, names), shown(ids))
		}
		return index.Head{}, usagef("the index has no kernel %q: want one of %s", name, shown(near))
	}
	ids = nil
	for _, h := range found {
		ids = append(ids, h.ID)
	}
	return index.Head{}, usagef("%q is more than one kernel: want one of %s", name, shown(ids))
}

// matchesKernel says whether a pattern is of a kernel's id, or of its name, with
// or without the distribution.
func matchesKernel(pattern, id string) bool {
	full, _, _ := strings.Cut(id, "__")
	for _, s := range []string{id, full, shortName(id)} {
		if ok, _ := path.Match(pattern, s); ok || s == pattern {
			return true
		}
	}
	return false
}

// shortName is an id's name without distribution and version of the package.
func shortName(id string) string {
	name, _, _ := strings.Cut(id[strings.Index(id, "/")+1:], "__")
	return name
}

// kernelOf reads a kernel of an index.
func kernelOf(x *index.Index, h index.Head) (*preflight.Kernel, error) {
	facts, err := x.Facts(h.ID, h.Digest)
	if err != nil {
		return nil, err
	}
	return preflight.NewKernel(facts)
}
