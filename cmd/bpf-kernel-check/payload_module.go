package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/elastic/bpf-kernel-check/guest"
	"github.com/elastic/bpf-kernel-check/guest/wire"
	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// isOwnModule tells a file from the name of a module of the kernel.
func isOwnModule(spec string) bool {
	file, _, _ := strings.Cut(spec, ",")
	return strings.Contains(file, "/") || strings.HasSuffix(file, ".ko")
}

// addOwnModule adds a module that the user built, FILE[,PARAM=VALUE...].
func addOwnModule(p *namedPayload, spec string) error {
	words := strings.Split(spec, ",")
	file, params := words[0], ""
	for _, w := range words[1:] {
		if strings.Contains(w, "=") {
			params += " " + w
		} else {
			params += "," + w // one of several values
		}
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return fmt.Errorf("%q: %w: want a file, or a module's name as lsmod shows it, such as overlay", file, errors.Unwrap(err))
	}
	if arch := guest.ExecutableArch(file); arch != p.arch {
		return fmt.Errorf("%q: it is no module for %s: give one that is built for the payload's kernels", file, p.arch)
	}
	info, err := image.ReadModinfo(data)
	if err == nil && info.Vermagic == "" {
		err = fmt.Errorf("it has no vermagic: want a kernel module, as the kernel's build makes it")
	}
	if err != nil {
		return fmt.Errorf("%q: %w", file, err)
	}
	m := guest.OwnModule{
		OwnModule: wire.OwnModule{Name: cmp.Or(info.Name, image.ModuleName(file)), Params: strings.TrimSpace(params)}, Vermagic: info.Vermagic,
	}
	if err := guest.CheckModule(m.Name); err != nil {
		return err
	}
	p.Modules = append(p.Modules, info.Depends...)
	p.AddOwnModule(m, data)
	return nil
}
