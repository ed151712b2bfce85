package kernel

import "github.com/elastic/bpf-kernel-check/report"

// CheckGlobs returns a *UsageError for the first glob that
// [report.MatchKernel] cannot read.
func CheckGlobs(globs []string) error {
	for _, g := range globs {
		if err := report.CheckKernelGlob(g); err != nil {
			return usagef("%v", err)
		}
	}
	return nil
}
