package main

import (
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/shard"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
)

func (c *command) listCommand() *cobra.Command {
	var sources, globs []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list --kernels SRC...",
		Short: "List the kernels of sources",
		Example: `  bpf-kernel-check list --kernels debian:bookworm:cloud-amd64
  bpf-kernel-check list --kernels ./kernels --kernel 'fedora/*' --json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			sources = append(sources, args...)
			if len(sources) == 0 {
				return usagef("nothing to list: name a source with --kernels, such as debian:bookworm:cloud-amd64 or a directory")
			}
			srcs, err := c.sources(sources)
			if err != nil {
				return err
			}
			plan, err := shard.NewPlan(cmd.Context(), srcs, globs)
			if err != nil {
				return err
			}
			if asJSON {
				type item struct {
					ID     string `json:"id"`
					Source string `json:"source"`
					kernel.Ref
				}
				items := make([]item, 0, len(plan.Entries))
				for _, e := range plan.Entries {
					items = append(items, item{e.ID(), e.Source.String(), e.Ref})
				}
				enc := json.NewEncoder(c.stdout)
				enc.SetIndent("", "  ")
				return enc.Encode(items)
			}
			w := tabwriter.NewWriter(c.stdout, 0, 0, 2, ' ', 0)
			for _, e := range plan.Entries {
				fmt.Fprintf(w, "%s\t%s\t%s\n", e.ID(), orDash(e.Arch), size(e.Size))
			}
			return w.Flush()
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&sources, "kernels", nil, "`SRC` of kernels; repeatable; arguments without a flag are sources too")
	f.StringArrayVar(&globs, "kernel", nil, "list only kernels whose id matches `GLOB`; repeatable")
	f.BoolVar(&asJSON, "json", false, "print the list as JSON, digests included")
	return cmd
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func size(n int64) string {
	if n <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}
