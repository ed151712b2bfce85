package main

import (
	"context"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/spf13/pflag"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/merge"
	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/host"
	"github.com/elastic/bpf-kernel-check/shard/index"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// pickOptions are the flags of run and plan for booting one kernel of each kind.
type pickOptions struct {
	pick, index string

	opened *index.Index // set by validate
}

const pickKinds = "kinds"

func (o *pickOptions) add(f *pflag.FlagSet) {
	f.StringVar(&o.pick, "pick", "", "`kinds`: of the kernels on which the payload's BPF objects find the same, boot the newest, and the oldest of each series with ten or more; the others are represented")
	f.StringVar(&o.index, "index", "", "`FILE` that the command index has made: kernels that it has are not fetched to find their kinds")
}

// validate checks the flags, and opens the index. warn is told, once, that a kernel
// of it cannot be read.
func (o *pickOptions) validate(warn func(string)) (err error) {
	if o.pick != "" && o.pick != pickKinds {
		return usagef("--pick is %.50q: want kinds, or nothing to boot every kernel", o.pick)
	}
	o.opened, err = openIndex(o.index)
	o.opened.OnDamage(func(err error) { warn("--index: " + err.Error()) })
	return err
}

// wanted are the kernels of a list that are picked from.
func (o *pickOptions) wanted(list plan.Plan) []plan.Entry { return list.Wanted(o.pick == pickKinds) }

// noteKinds says that a command picks no kernels of a list file that asks for it.
func (c *command) noteKinds(list plan.Plan) {
	if len(list.Wanted(false)) > 0 {
		fmt.Fprintln(c.stderr, "note: pick:kinds of a list file counts for run and plan only")
	}
}

// pickFrom leaves the kernels out of a whole list that others represent, and says
// how many. compared has an earlier run, if there is one. With read, kernels that the index lacks
// are fetched and read, jobs at a time.
func (c *command) pickFrom(ctx context.Context, o pickOptions, list plan.Plan, p namedPayload, compared *merge.Options, read bool, jobs int, out io.Writer) (plan.Plan, error) {
	base := compared.Base
	if base == nil && compared.NotCompared != "" {
		compared.NotCompared += ", nor which kernels of one kind had different results"
		c.warn(compared.NotCompared)
	}
	kinds := shard.Kinds{Payload: p.Payload, BTF: p.btf, Arch: p.arch, Index: o.opened, Jobs: jobs, Read: read}
	if read {
		scratch, remove, err := host.MakeScratch(os.TempDir())
		if err != nil {
			return list, err
		}
		defer remove()
		kinds.Scratch = scratch
		if kinds.Cache, err = c.openCache(); err != nil {
			return list, err
		}
	}
	found, err := kinds.Find(ctx, o.wanted(list))
	if err != nil {
		return list, err
	}
	note := func(format string, args ...any) { fmt.Fprintf(c.stderr, "note: "+format+"\n", args...) }
	if n := len(found.Without); found.Series {
		note("no BPF objects were found in the payload: kernels of one series count as one kind")
	} else if n > 0 {
		names := report.List(found.Without, 10, func(name string) string { return name })
		note("no BPF objects were found in %s: kinds know nothing of what %s", names, report.Plural(n, "it depends on", "they depend on"))
	}
	if base != nil && len(base.Represented) > 0 {
		note("--base is no full run: of %s it says nothing", count(len(base.Represented), "represented kernel"))
	}
	if found.Lacking > 0 {
		instead := "booted, since their kinds are not known"
		if read {
			instead = "read instead"
		}
		note("%s: %s not in the index, and %s", o.index, count(found.Lacking, "kernel"), instead)
	}
	for _, lacks := range slices.Sorted(maps.Keys(found.Unknown)) {
		n := found.Unknown[lacks]
		what := lacks + " are"
		if lacks == "" {
			what = report.Plural(n, "kind is", "kinds are")
		}
		note("%s booted, since %s %s not known", count(n, "kernel")+report.Plural(n, " is", " are"), report.Plural(n, "its", "their"), what)
	}
	all := len(list.Entries)
	list.Payload = p.Digest()
	list = list.Pick(plan.Picks{All: o.pick == pickKinds, Kinds: found.Kinds, Base: base})
	if n := len(list.Represented); n > 0 {
		by := report.Plural(n, "is represented by one of its kind", "are represented by one of their kind")
		fmt.Fprintf(out, "%s to boot, standing for %d: %d %s\n", count(len(list.Entries), "kernel"), all, n, by)
	} else {
		fmt.Fprintf(out, "%s to boot: none represents another\n", count(all, "kernel"))
	}
	return list, nil
}
