package main

import (
	"fmt"
	"io"
	"runtime"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// sourceOptions are the flags that say which kernels.
type sourceOptions struct {
	kernels    []string
	buckets    []string
	mainline   string
	globs      []string
	minRelease string
}

const defaultMainline = "mainline-kernels.tar"

func (o *sourceOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVar(&o.kernels, "kernels", nil, "`SRC` of kernels, or @FILE with one on each line; repeatable; arguments without a flag are sources too")
	f.StringArrayVarP(&o.buckets, "bucket", "d", nil, "`BUCKET` of kernels; short for --kernels gs://BUCKET; repeatable")
	f.StringVarP(&o.mainline, "mainline", "m", "", "archive or directory of mainline kernels, as `FILE`; "+defaultMainline+" if it is not named")
	f.Lookup("mainline").NoOptDefVal = defaultMainline
	f.StringArrayVar(&o.globs, "kernel", nil, "only kernels whose id matches `GLOB`, or does not match !GLOB; without / it is matched against the name; repeatable")
	f.StringVar(&o.minRelease, "min-release", plan.DefaultMinRelease, "skip kernels older than `RELEASE`; ringbuf: those without BPF ring buffers; \"\" skips none")
}

// jobsFlag adds -j, whose help is the same on every machine.
func jobsFlag(f *pflag.FlagSet, jobs *int, usage string) {
	f.IntVarP(jobs, "jobs", "j", runtime.NumCPU(), usage)
	f.Lookup("jobs").DefValue = "number of cores"
}

// named says whether sources are named.
func (o *sourceOptions) named(args []string) bool {
	return len(o.kernels)+len(o.buckets)+len(args) > 0 || o.mainline != ""
}

// specs returns the sources, in the order of the help.
func (o *sourceOptions) specs(args []string, nothing string) ([]string, error) {
	if err := plan.CheckMinRelease(o.minRelease); err != nil {
		return nil, err
	}
	list := slices.Clone(o.kernels)
	for _, b := range o.buckets {
		list = append(list, "gs://"+strings.TrimPrefix(b, "gs://"))
	}
	// A flag with an optional value does not take the next argument: the FILE of
	// "-m FILE" is among the arguments, which are sources anyway.
	if o.mainline != "" && (o.mainline != defaultMainline || len(args) == 0) {
		list = append(list, o.mainline)
	}
	list = append(list, args...)
	if !o.named(args) {
		return nil, usagef("%s: name a source with --kernels or in bpf-kernel-check.yaml, such as debian:bookworm:cloud-amd64, gs://<bucket> or a directory", nothing)
	}
	return list, nil
}

func (c *command) filter(o *sourceOptions, arch string) plan.Filter {
	cache, _ := c.openCache() // the sources have opened it, or have said why not
	return plan.Filter{Globs: o.globs, Arch: arch, MinRelease: o.minRelease, Cache: cache}
}

// listingOrder sorts kernels for people: by id, and mainline newest first.
func listingOrder(entries []plan.Entry) []plan.Entry {
	return slices.SortedStableFunc(slices.Values(entries), func(a, b plan.Entry) int {
		if a.Distro == "mainline" && b.Distro == "mainline" {
			return report.CompareVersions(b.Name, a.Name)
		}
		return strings.Compare(a.ID(), b.ID())
	})
}

// printSkipped prints every kernel that is left out, and their number.
func (c *command) printSkipped(w io.Writer, list plan.Plan) {
	if len(list.Skipped) == 0 {
		return
	}
	for _, s := range list.Skipped {
		fmt.Fprintf(w, "[%s] %s  %s\n", s.Reason, s.ID, s.Why)
	}
	line := fmt.Sprintf("%s skipped: %d too old, %d for another architecture", count(len(list.Skipped), "kernel"), list.CountSkipped(plan.SkipOld), list.CountSkipped(plan.SkipArch))
	if gone := list.CountSkipped(plan.SkipGone); gone > 0 {
		line += fmt.Sprintf(", %d gone", gone)
	}
	fmt.Fprintln(w, line)
}
