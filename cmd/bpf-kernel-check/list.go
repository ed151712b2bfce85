package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"strings"
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
those that could not be tested. If there are none, it prints nothing, or [] with
--json; the exit code is 0.`,
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
			if onlyNew != (basePath != "") {
				return usagef("want --new and --base, or neither of them: --base is the report.json of the last run")
			}
			var base *report.Merged
			if onlyNew {
				if base, err = readNewBase(basePath, arch); err != nil {
					return err
				}
				arch = cmp.Or(arch, base.Arch)
			}
			if arch != "" && goarch.Lookup(arch).Name == "" {
				return usagef("--arch is %q: want %s", arch, goarch.List())
			}
			srcs, err := c.sources(sources, arch)
			if err != nil {
				return err
			}
			plan, err := plan.Select(cmd.Context(), srcs, c.filter(&so, arch))
			if err != nil && onlyNew && plan.OtherArch() {
				return errBaseArch(basePath, base, strings.Join(plan.Arches(), ", "))
			}
			if err != nil {
				c.printSkipped(c.stderr, plan)
				return err
			}
			if onlyNew {
				plan = c.onlyNew(plan, base)
				plan.Skipped = nil
			}
			if asJSON {
				items := make([]any, 0, len(plan.Entries)+len(plan.Skipped))
				for _, e := range listingOrder(plan.Entries) {
					items = append(items, listed{e.ID(), e.Source.String(), e.New, analysis.Series(cmp.Or(e.Release, e.Name)), e.Ref})
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
				if onlyNew {
					line += "\t" + e.New
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
	New    string `json:"new,omitempty"`    // why, with --new
	Series string `json:"series,omitempty"` // "6.12"
	kernel.Ref
}

// readNewBase reads the base of --new, for kernels of arch; "" for those of all.
func readNewBase(path, arch string) (*report.Merged, error) {
	base, err := readWhole(path)
	if err != nil {
		return nil, usagef("--base %s: %w", path, err)
	}
	if arch != "" && base.Arch != "" && base.Arch != arch {
		return nil, errBaseArch(path, base, arch)
	}
	return base, nil
}

func errBaseArch(path string, base *report.Merged, arch string) error {
	return usagef("--base %s: it is of %s, and these kernels are for %s", path, report.OneLine(base.Arch, 100), arch)
}

// onlyNew leaves the kernels out that are not new, and says which are gone.
func (c *command) onlyNew(list plan.Plan, base *report.Merged) plan.Plan {
	fresh, gone := list.OnlyNew(base)
	n, all := len(fresh.Entries), len(list.Entries)
	verb := "are"
	if n == 1 || all == 1 {
		verb = "is"
	}
	fmt.Fprintf(c.stderr, "note: %s of %s %s new since the base\n", report.Thousands(n), count(all, "kernel"), verb)
	if len(gone) > 0 {
		fmt.Fprintf(c.stderr, "note: gone since the base: %s\n", report.List(gone, screen.MaxListed, func(id string) string { return id }))
	}
	return fresh
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
