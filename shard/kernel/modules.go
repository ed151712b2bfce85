package kernel

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// Modules returns the modules called names and all they depend on, each after
// those it needs. A module that the kernel did not come with, because it is
// built in or not there at all, is left out: only the running kernel can tell
// the two apart.
//
// Dependencies are read from the modules themselves, since packages hold no
// modules.dep. Each level of them takes one more pass over the archive.
func (im *Image) Modules(ctx context.Context, names []string) ([]image.Module, error) {
	type found struct {
		image.Module
		depends []string
	}
	have := map[string]found{}
	tried := map[string]bool{}
	var wanted []string
	want := func(ns []string) {
		for _, n := range ns {
			if n = image.ModuleName(n); n != "" && !tried[n] {
				tried[n] = true
				wanted = append(wanted, n)
			}
		}
	}
	for want(names); len(wanted) > 0; {
		pass := wanted
		wanted = nil
		left := len(pass)
		err := im.ReadModules(ctx,
			func(file string) bool { return image.IsModule(file) && slices.Contains(pass, image.ModuleName(file)) },
			func(file string, _ int64, r io.Reader) error {
				name := image.ModuleName(file)
				if _, twice := have[name]; twice {
					return nil
				}
				data, err := image.ReadModule(ctx, file, r)
				if err != nil {
					return err
				}
				depends, err := image.ModuleDepends(data)
				if err != nil {
					return fmt.Errorf("module %q: %w", file, err)
				}
				have[name] = found{image.Module{Name: name, Data: data}, depends}
				want(depends)
				if left--; left == 0 {
					return fs.SkipAll
				}
				return nil
			})
		if err != nil {
			return nil, err
		}
	}

	var order []image.Module
	state := map[string]int{} // 1 being added, 2 added
	var add func(name string) error
	add = func(name string) error {
		m, ok := have[image.ModuleName(name)]
		if !ok || state[m.Name] == 2 {
			return nil
		}
		if state[m.Name] == 1 {
			return fmt.Errorf("modules of %s: %q depends on itself", im.ID(), m.Name)
		}
		state[m.Name] = 1
		for _, d := range m.depends {
			if err := add(d); err != nil {
				return err
			}
		}
		state[m.Name] = 2
		order = append(order, m.Module)
		return nil
	}
	for _, n := range names {
		if err := add(n); err != nil {
			return nil, err
		}
	}
	return order, nil
}

// maxOrder bounds modules.order, in bytes; a distribution's has 250 kB.
const maxOrder = 8 << 20

// EachModule gives all modules that the kernel came with to fn, decompressed,
// which must not keep them. It reports whether they are all that were built:
// packages of some distributions split them, and modules.order names every one.
// It takes one pass over the archives, some seconds.
func (im *Image) EachModule(ctx context.Context, fn func(m image.Module) error) (all bool, err error) {
	order := ""
	have := map[string]bool{}
	err = im.ReadModules(ctx,
		func(file string) bool { return image.IsModule(file) || file == "modules.order" },
		func(file string, _ int64, r io.Reader) error {
			if file == "modules.order" {
				b, err := io.ReadAll(io.LimitReader(r, maxOrder))
				order = string(b)
				return err
			}
			name := image.ModuleName(file)
			if have[name] {
				return nil
			}
			data, err := image.ReadModule(ctx, file, r)
			if err != nil {
				return err
			}
			have[name] = true
			return fn(image.Module{Name: name, Data: data})
		})
	if err != nil {
		return false, fmt.Errorf("read the modules of %s: %w", im.ID(), err)
	}
	all = order != ""
	for line := range strings.Lines(order) {
		if line = strings.TrimSpace(line); line != "" && !have[image.ModuleName(line)] {
			all = false
		}
	}
	return all, nil
}
