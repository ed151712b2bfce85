package main

import (
	"fmt"

	"github.com/elastic/bpf-kernel-check/report"
	"github.com/elastic/bpf-kernel-check/shard/vm"
)

// readAllowed reads the lists of splats that are allowed.
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

// warnUnused names the entries that allowed nothing. Of one shard of several
// that says nothing: merge knows it.
func (c *command) warnUnused(a *vm.Allowed, results []report.Kernel) {
	for _, e := range report.UnusedAllowed(a.Entries(), results) {
		c.warn(fmt.Sprintf("%s: the entry allowed nothing, no kernel had the splat %s, or it is a panic or an oops, which is never allowed: take the entry out", a.At(e), e.Words()))
	}
}
