package main

import (
	"fmt"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// readAllowed reads the lists of allowed splats.
func readAllowed(files []string) (*vm.Allowed, error) {
	var a vm.Allowed
	for _, name := range files {
		f, err := openList(name)
		if err != nil {
			return nil, usagef("--allow-splats: %w: give a YAML list of pattern, kernels, reason and link", err)
		}
		err = a.Read(name, f)
		f.Close()
		if err != nil {
			return nil, usagef("--allow-splats: %w", err)
		}
	}
	return &a, nil
}

// warnUnused names the entries that matched nothing. For one shard of several,
// merge does it.
func (c *command) warnUnused(a *vm.Allowed, results []report.Result) {
	for _, e := range report.UnusedAllowed(a.Entries(), results) {
		c.warn(fmt.Sprintf("%s: the entry allowed nothing, no kernel had the splat %s, or it is a panic or an oops, which is never allowed: take the entry out", a.At(e), e.Words()))
	}
}
