package kernel

import (
	"bytes"
	"compress/flate"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/elastic/bpf-kernel-check/shard/kernel/image"
)

// Modules are modules of a kernel.
type Modules struct {
	// First are those that were named and all they depend on, each after those it
	// needs. What the kernel did not come with, because it is built in or not
	// there at all, is left out: only the running kernel can tell the two apart.
	First []image.Module

	// These are known only if some are wanted on demand.
	OnDemand map[string]Deflated      // by name: those wanted, and all they depend on or can use
	Info     map[string]image.Modinfo // of those that were read
	All      map[string]bool          // the names of all modules that the kernel came with
	Builtin  []string                 // the names of those that it has built in
}

// Deflated is a file compressed as archives of archive/zip have it.
type Deflated struct {
	Data  []byte
	Size  int // that it unpacks to
	CRC32 uint32
}

// Modules returns the modules called names, and those for which onDemand is true;
// nil: none.
//
// Dependencies are read from the modules themselves, since packages hold no
// modules.dep. What turns out to be needed when it has gone by takes one more pass
// over the archive.
func (im *Image) Modules(ctx context.Context, names []string, onDemand func(name string) bool) (Modules, error) {
	c := moduleCollector{
		found: Modules{OnDemand: map[string]Deflated{}, Info: map[string]image.Modinfo{}, All: map[string]bool{}},
		first: map[string]image.Module{}, wantFirst: map[string]bool{}, wantLater: map[string]bool{},
		left: map[string]bool{}, tried: map[string]bool{}, byAlias: map[string][]string{},
	}
	for _, n := range names {
		c.want(n, true)
	}
	for all := onDemand != nil; all || len(c.left) > 0; all = false {
		pass := maps.Clone(c.left)
		err := im.ReadModules(ctx,
			func(file string) bool {
				if !image.IsModule(file) {
					return all && file == "modules.builtin"
				}
				name := image.ModuleName(file)
				if all {
					c.found.All[name] = true
					if onDemand(name) {
						c.want(name, false)
					}
				}
				return c.left[name] || all && isAlgorithm(file)
			},
			func(file string, _ int64, r io.Reader) error {
				if file == "modules.builtin" {
					b, err := io.ReadAll(io.LimitReader(r, maxOrder))
					for line := range strings.Lines(string(b)) {
						c.found.Builtin = append(c.found.Builtin, image.ModuleName(strings.TrimSpace(line)))
					}
					return err
				}
				name := image.ModuleName(file)
				data, err := image.ReadModule(ctx, file, r)
				if err == nil {
					err = c.add(name, data)
				}
				if err != nil && (c.wantFirst[name] || ctx.Err() != nil) {
					return fmt.Errorf("module %q: %w", file, err)
				}
				if err != nil { // few will miss it
					c.giveUp(name)
				}
				if len(c.left) == 0 && !all {
					return fs.SkipAll
				}
				return nil
			})
		if err != nil {
			return Modules{}, err
		}
		for n := range pass {
			c.giveUp(n)
		}
		if onDemand != nil {
			c.followAliases()
		}
	}
	for _, n := range names {
		if err := c.load(image.ModuleName(n), map[string]bool{}); err != nil {
			return Modules{}, fmt.Errorf("modules of %s: %w", im.ID(), err)
		}
	}
	return c.found, nil
}

// moduleCollector finds modules and what they depend on.
type moduleCollector struct {
	found     Modules
	first     map[string]image.Module
	wantFirst map[string]bool
	wantLater map[string]bool
	left      map[string]bool     // those wanted, neither there nor given up
	tried     map[string]bool     // those given up
	byAlias   map[string][]string // modules that were read, by other names they go by
	compress  *flate.Writer
}

// isAlgorithm says whether a module is one of those that others name in softdeps
// by what it does: "crc32c" is crc32c_generic, crc32c_intel or both.
func isAlgorithm(file string) bool {
	return strings.Contains(file, "crypto/") && !strings.HasPrefix(file, "kernel/drivers/")
}

// giveUp no longer looks for a module.
func (c *moduleCollector) giveUp(name string) {
	c.tried[name] = true
	delete(c.left, name)
}

// followAliases wants, for each name that no module of the kernel has, the modules
// that go by it. The names of all are known.
func (c *moduleCollector) followAliases() {
	for _, n := range slices.Collect(maps.Keys(c.left)) {
		if c.found.All[n] {
			continue
		}
		c.giveUp(n)
		for _, m := range c.byAlias[n] {
			c.want(m, false)
		}
	}
}

// want wants a module, first or on demand, and what it needs as far as that is
// known.
func (c *moduleCollector) want(name string, first bool) {
	set := c.wantLater
	if first {
		set = c.wantFirst
	}
	if name = image.ModuleName(name); name == "." || set[name] {
		return
	}
	set[name] = true
	if !c.tried[name] {
		c.left[name] = true
	}
	c.wantDeps(c.found.Info[name], first)
}

// wantDeps wants what a module needs and, on demand, what it can use.
func (c *moduleCollector) wantDeps(info image.Modinfo, first bool) {
	deps := info.Depends
	if !first {
		deps = slices.Concat(deps, info.Pre, info.Post)
	}
	for _, d := range deps {
		c.want(d, first)
	}
}

// add keeps of a module what is wanted of it.
func (c *moduleCollector) add(name string, data []byte) error {
	info, err := image.ReadModinfo(data)
	if err != nil {
		return err
	}
	if _, ok := c.found.Info[name]; !ok {
		for _, a := range info.Aliases {
			a = image.ModuleName(a)
			c.byAlias[a] = append(c.byAlias[a], name)
		}
	}
	c.found.Info[name] = info
	delete(c.left, name)
	if c.wantFirst[name] {
		c.first[name] = image.Module{Name: name, Data: data}
		c.wantDeps(info, true)
	}
	if c.wantLater[name] {
		c.found.OnDemand[name], err = c.deflate(data)
		c.wantDeps(info, false)
	}
	return err
}

func (c *moduleCollector) deflate(data []byte) (Deflated, error) {
	var b bytes.Buffer
	if c.compress == nil {
		c.compress, _ = flate.NewWriter(nil, flate.DefaultCompression) // the level is good
	}
	c.compress.Reset(&b)
	_, err := c.compress.Write(data)
	err = errors.Join(err, c.compress.Close())
	return Deflated{Data: b.Bytes(), Size: len(data), CRC32: crc32.ChecksumIEEE(data)}, err
}

// load adds a module to those that are loaded first, behind what it depends on.
func (c *moduleCollector) load(name string, above map[string]bool) error {
	m, ok := c.first[name]
	if !ok || slices.ContainsFunc(c.found.First, func(o image.Module) bool { return o.Name == name }) {
		return nil
	}
	if above[name] {
		return fmt.Errorf("%q depends on itself", name)
	}
	above[name] = true
	for _, d := range c.found.Info[name].Depends {
		if err := c.load(d, above); err != nil {
			return err
		}
	}
	c.found.First = append(c.found.First, m)
	return nil
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
