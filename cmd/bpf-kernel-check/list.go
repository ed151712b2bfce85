package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/report/screen"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

func (c *command) listCommand() *cobra.Command {
	var so sourceOptions
	var arch string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list --kernels SRC...",
		Short: "List the kernels of sources",
		Example: `  bpf-kernel-check list --kernels debian:bookworm:cloud-amd64
  bpf-kernel-check list --kernels gs://bucket/kernels --min-release 5.10
  bpf-kernel-check list --kernels ./kernels --kernel 'fedora/*' --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			sources, err := so.specs(args, "nothing to list")
			if err != nil {
				return err
			}
			if arch != "" && !slices.Contains(qemu.ArchNames(), arch) {
				return usagef("--arch is %q: want %s", arch, strings.Join(qemu.ArchNames(), " or "))
			}
			srcs, err := c.sources(sources, arch)
			if err != nil {
				return err
			}
			plan, err := plan.Select(cmd.Context(), srcs, c.filter(&so, arch))
			if err != nil {
				c.printSkipped(c.stderr, plan)
				return err
			}
			if asJSON {
				type item struct {
					ID     string `json:"id"`
					Source string `json:"source"`
					kernel.Ref
				}
				items := make([]any, 0, len(plan.Entries)+len(plan.Skipped))
				for _, e := range listingOrder(plan.Entries) {
					items = append(items, item{e.ID(), e.Source.String(), e.Ref})
				}
				for _, s := range plan.Skipped {
					items = append(items, s)
				}
				enc := json.NewEncoder(c.stdout)
				enc.SetIndent("", "  ")
				return enc.Encode(items)
			}
			w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
			for _, e := range listingOrder(plan.Entries) {
				fmt.Fprintf(w, "%s\t%s\t%s\n", e.ID(), orDash(e.Arch), screen.Size(e.Size))
			}
			if err := w.Flush(); err != nil {
				return err
			}
			c.printSkipped(c.stdout, plan)
			if n := len(plan.Wanted(false)); n > 0 {
				fmt.Fprintf(c.stderr, "note: pick:kinds is decided when a payload is known: of %s only one of each kind is booted\n", count(n, "kernel"))
			}
			return nil
		},
	}
	so.add(cmd)
	f := cmd.Flags()
	f.StringVar(&arch, "arch", "", "list only kernels for `ARCH`, "+strings.Join(qemu.ArchNames(), " or "))
	f.BoolVar(&asJSON, "json", false, "print JSON, with digests")
	return cmd
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
