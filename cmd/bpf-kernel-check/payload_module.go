package main

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"slices"
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

const maxOwnModule = 256 << 20 // bytes

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
	switch info, err := os.Stat(file); {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("%q: it is not a regular file: give the file of a module", spec)
	case err == nil && info.Size() > maxOwnModule:
		return fmt.Errorf("%q: it has %d MiB, more than the %d MiB a module takes: strip its debug information", spec, info.Size()>>20, maxOwnModule>>20)
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
	if slices.ContainsFunc(p.Own, func(o guest.OwnModule) bool { return o.Name == m.Name }) {
		return fmt.Errorf("%q: another --module is called %s: leave one out", spec, m.Name)
	}
	p.Modules = append(p.Modules, info.Depends...)
	p.AddOwnModule(m, data)
	return nil
}
