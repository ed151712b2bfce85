package main

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/report/summary"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// demoKernel is a kernel series of the demo and its source.
type demoKernel struct{ source, glob string }

// demoKernels returns the series for an architecture.
func demoKernels(arch string) []demoKernel {
	list := []demoKernel{
		{"debian:bookworm:cloud-" + arch, "debian/6.1.*"},
		{"debian:trixie:cloud-" + arch, "debian/6.12.*"},
		{"debian:sid:cloud-" + arch, "debian/[7-9].*"},
	}
	if arch == "amd64" { // not every mirror has bullseye's other packages
		list = append([]demoKernel{{"debian:bullseye:cloud-amd64", "debian/5.10.*"}}, list...)
	}
	return list
}

func (c *command) demoCommand() *cobra.Command {
	var o runOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Boot four Debian kernels and check the built-in tracer on them",
		Long: `Boots the newest Debian kernel of each of 5.10, 6.1, 6.12 and 7.x, and checks the
small EventsTrace-compatible tracer that is built into this program. With --arch
arm64 it boots arm64 kernels, without 5.10.`,
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
			var list plan.Plan
			for _, d := range demoKernels(payload.arch) {
				srcs, err := c.sources([]string{d.source}, "")
				if err != nil {
					return err
				}
				all, err := plan.New(cmd.Context(), srcs, []string{d.glob})
				if err != nil {
					return err
				}
				list.Entries = append(list.Entries, all.Newest())
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
