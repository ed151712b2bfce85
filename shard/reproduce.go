package shard

import (
	"regexp"
	"slices"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/plan"
)

// userinfo is a name and password in an address, which must not end up in
// reports.
var userinfo = regexp.MustCompile(`://[^/@\s]*@`)

// reproduce is the command that opens a shell in a kernel, "" where it cannot be
// given in one line.
func (r *Runner) reproduce(e plan.Entry) string {
	source := userinfo.ReplaceAllString(e.Source.String(), "://")
	words := slices.Concat([]string{"--kernels", source}, r.PayloadFlags, []string{e.ID()})
	return report.Command(words...)
}
