package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report/summary"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// demoSeries are Debian's suites with their kernels' series, oldest first.
var demoSeries = []struct{ suite, glob string }{
	{"bullseye", "debian/5.10.*"},
	{"bookworm", "debian/6.1.*"},
	{"trixie", "debian/6.12.*"},
	{"sid", "debian/[7-9].*"},
}

// demoFlavours are the flavours of the demo's kernels by architecture, each with
// the first suite that has one with BTF.
var demoFlavours = map[string]struct{ suite, flavour string }{
	"amd64":   {"bullseye", "cloud-amd64"},
	"arm64":   {"bookworm", "cloud-arm64"}, // not every mirror has bullseye's
	"riscv64": {"trixie", "riscv64"},
	"s390x":   {"trixie", "s390x"},
	"ppc64le": {"trixie", "powerpc64le"},
}

// demoKernels returns the newest kernel of each series that an architecture has.
// A suite that cannot be listed, such as one that a mirror lacks for it, is left
// out with a warning.
func (c *command) demoKernels(ctx context.Context, arch string) (plan.Plan, error) {
	var list plan.Plan
	var failed error
	of := demoFlavours[arch]
	from := slices.IndexFunc(demoSeries, func(s struct{ suite, glob string }) bool { return s.suite == of.suite })
	for _, s := range demoSeries[max(from, 0):] {
		srcs, err := c.sources([]string{"debian:" + s.suite + ":" + of.flavour}, "")
		if err != nil {
			return list, err
		}
		all, err := plan.New(ctx, srcs, []string{s.glob})
		if err != nil {
			if ctx.Err() != nil {
				return list, err
			}
			failed = cmp.Or(failed, err)
			c.warn(fmt.Sprintf("the demo goes without %s: %v", s.glob, err))
			continue
		}
		list.Entries = append(list.Entries, all.Newest())
	}
	if len(list.Entries) == 0 {
		return list, failed
	}
	return list, nil
}

func (c *command) demoCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Boot four Debian kernels and check the built-in tracer on them",
		Long: `Boots the newest Debian kernel of each of 5.10, 6.1, 6.12 and 7.x, and checks the
small EventsTrace-compatible tracer that is built into this program. With --arch it
boots kernels of another architecture, from the first series on that Debian built
with BTF for it.`,
		Example: "  bpf-kernel-check demo --out /tmp/demo",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			accel, err := o.validate()
			if err != nil {
				return err
			}
			if err := c.checkNet(o.net); err != nil {
				return err
			}
			payload, err := c.demoPayload(cmd.Context(), o)
			if err != nil {
				return err
			}
			list, err := c.demoKernels(cmd.Context(), payload.arch)
			if err != nil {
				return err
			}
			o.started = time.Now()
			ctx, cancel := o.limits.within(cmd.Context(), o.started)
			defer cancel()
			err = c.test(ctx, o, accel, payload, list)
			if b, rerr := os.ReadFile(filepath.Join(o.out, summary.Name)); rerr == nil {
				fmt.Fprintf(c.stdout, "\n%s", b)
			}
			return err
		},
	}
	o.add(cmd)
	return cmd
}

func (c *command) demoPayload(ctx context.Context, o runOptions) (namedPayload, error) {
	p := namedPayload{arch: cmp.Or(o.arch, "amd64"), name: "the built-in tracer"}
	if runtime.GOARCH != p.arch {
		fmt.Fprintf(c.stderr, "note: the demo's kernels are for %s and are emulated here\n", p.arch)
	}
	b, err := guest.Program(ctx, p.arch, guest.Tracer)
	if err != nil {
		return p, err
	}
	p.Payload, err = guest.EventsTracePayload(ctx, p.arch, b, o.limits.payload)
	return p, err
}
