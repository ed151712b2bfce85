package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/elastic/bpf-kernel-check/guest/goarch"
	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/report/analysis"
	"github.com/elastic/bpf-kernel-check/report/screen"
	"github.com/elastic/bpf-kernel-check/shard/kernel"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

func (c *command) listCommand() *cobra.Command {
	var so sourceOptions
	var arch string
	var asJSON, onlyNew bool
	var basePath string
	cmd := &cobra.Command{
		Use:   "list --kernels SRC...",
		Short: "List the kernels of sources",
		Long: `Lists the kernels of the sources. With --new and --base, it lists those of which
the base has no result: new ones, those that were rebuilt under the same name, and
those that could not be tested. The exit code is 0 also if there are none; stdout
is empty then, or [] with --json.`,
		Example: `  bpf-kernel-check list --kernels debian:bookworm:cloud-amd64
  bpf-kernel-check list --kernels gs://bucket/kernels --min-release 5.10
  bpf-kernel-check list --kernels ./kernels --kernel 'fedora/*' --json
  bpf-kernel-check list --kernels debian:sid --new --base report.json`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			sources, err := so.specs(args, "nothing to list")
			if err != nil {
				return err
			}
			if arch != "" && goarch.Lookup(arch).Name == "" {
				return usagef("--arch is %q: want %s", arch, goarch.List())
			}
			base, err := readNewBase(onlyNew, basePath)
			if err != nil {
				return err
			}
			if base != nil && goarch.Lookup(base.Arch).Name != "" {
				arch = cmp.Or(arch, base.Arch)
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
			why := map[string]string{}
			if base != nil {
				plan, why = c.onlyNew(plan, base)
				plan.Skipped = nil
			}
			if asJSON {
				items := make([]any, 0, len(plan.Entries)+len(plan.Skipped))
				for _, e := range listingOrder(plan.Entries) {
					items = append(items, listed{e.ID(), e.Source.String(), why[e.ID()], analysis.Series(e.Name), e.Ref})
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
				line := fmt.Sprintf("%s\t%s\t%s", e.ID(), orDash(e.Arch), screen.Size(e.Size))
				if base != nil {
					line += "\t" + why[e.ID()]
				}
				fmt.Fprintln(w, line)
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
	f.StringVar(&arch, "arch", "", "list only kernels for `ARCH`, "+goarch.List())
	f.BoolVar(&asJSON, "json", false, "print JSON, with digests")
	f.BoolVar(&onlyNew, "new", false, "list only kernels of which --base has no result")
	f.StringVar(&basePath, "base", "", "with --new: report.json of the last run, as `FILE`")
	return cmd
}

// listed is a kernel in list's JSON, with what its source tells of it.
type listed struct {
	ID     string `json:"id"`
	Source string `json:"source"`
	New    string `json:"new,omitempty"`    // with --new: why
	Series string `json:"series,omitempty"` // "6.12"
	kernel.Ref
}

// readNewBase reads the base of --new; nil without.
func readNewBase(onlyNew bool, path string) (*report.Merged, error) {
	switch {
	case onlyNew && path == "":
		return nil, usagef("--new needs --base: give the report.json of the last run")
	case !onlyNew && path != "":
		return nil, usagef("--base is for --new: give both")
	case !onlyNew:
		return nil, nil
	}
	base, err := readWhole(path)
	if err != nil {
		return nil, usagef("--base: %w", err)
	}
	return base, nil
}

// onlyNew leaves the kernels out that are not new, and says which are gone.
func (c *command) onlyNew(list plan.Plan, base *report.Merged) (plan.Plan, map[string]string) {
	all := len(list.Entries)
	list, why, gone := list.OnlyNew(base)
	fmt.Fprintf(c.stderr, "note: %d of %s %s new since the base\n", len(why), count(all, "kernel"), report.Plural(len(why), "is", "are"))
	if len(gone) > 0 {
		fmt.Fprintf(c.stderr, "note: gone since the base: %s\n", report.List(gone, screen.MaxListed, func(id string) string { return id }))
	}
	return list, why
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
