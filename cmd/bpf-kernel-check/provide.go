package main

import (
	"cmp"
	"context"
	"errors"
	"runtime"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/shard/host"
	"github.com/elastic/bpf-kernel-check/shard/kernel/source"
	"github.com/elastic/bpf-kernel-check/shard/qemu"
)

// provide installs what a run needs and this machine lacks, and opens KVM.
func (c *command) provide(ctx context.Context, in inputs) error {
	arch, err := qemu.LookupArch(payloadArch(in))
	if err != nil {
		return usageError{err}
	}
	missing := missingSources(in)
	if _, err := qemu.Find(arch); errors.Is(err, qemu.ErrNotInstalled) {
		missing = append(missing, strings.Fields(arch.Package)...)
	}
	if err := c.install(ctx, missing); err != nil {
		return err
	}
	return c.installer().OpenKVM(ctx, qemu.DefaultKVM)
}

func (c *command) install(ctx context.Context, packages []string) error {
	err := c.installer().Install(ctx, packages)
	if errors.Is(err, host.ErrNoApt) {
		return usageError{err}
	}
	return err
}

func (c *command) installer() *host.Installer {
	return &host.Installer{Out: c.stdout, Warn: c.warn, Patience: c.patience, Lists: c.aptLists, Hosted: c.getenv("RUNNER_ENVIRONMENT") == "github-hosted"}
}

// payloadArch is the architecture whose QEMU is needed.
func payloadArch(in inputs) string {
	program := in["events-trace"]
	o := payloadOptions{tests: in.list("test"), testsFile: in["tests"]}
	if specs, err := o.specs(); err == nil && len(specs) > 0 && !(in["rootfs"] != "" && strings.HasPrefix(specs[0].words[0], "/")) {
		program = specs[0].words[0]
	}
	arch := ""
	if program != "" {
		arch = guest.ExecutableArch(program)
	}
	return cmp.Or(arch, in["arch"], runtime.GOARCH)
}

// missingSources returns the missing packages that the sources need to read
// package repositories.
func missingSources(in inputs) (missing []string) {
	for _, n := range source.Needs(in.list("kernels")) {
		if !host.Has(n.Path) {
			missing = append(missing, n.Package)
		}
	}
	return missing
}
