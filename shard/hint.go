package shard

import (
	"strings"

	"github.com/elastic/bpf-kernel-check/report"
)

// noBootHint adds to the cause of a kernel that did not boot what its
// configuration says about that, where it says something.
func (r *Runner) noBootHint(j job, c *report.Cause) *report.Cause {
	config, err := j.image.ReadConfig(j.boot)
	if err != nil || c == nil {
		return c // it is not known, which explains nothing
	}
	var words []string
	for _, o := range config.NoBoot(r.Arch.Name) {
		words = append(words, o.What)
	}
	if len(words) == 0 {
		return c
	}
	const most = 3
	if n := len(words) - most; n > 0 {
		words = append(words[:most], "and more")
	}
	hinted := *c
	hinted.Title = report.OneLine(c.Title, 200) + "; in its config " + strings.Join(words, ", ") + ": see doctor KERNEL"
	return &hinted
}
